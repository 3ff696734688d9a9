"""The whole way: inspect a real application, discover its workload, load it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import pretune.server
from pretune.loadtests import records
from pretune.loadtests.discovery import probe
from pretune.loadtests.workload import Load

BOOTSTRAP = Path(pretune.server.__file__).with_name("bootstrap.py")
APP = """
import time
from flask import Flask, redirect, request, url_for

app = Flask(__name__)
app.config["SERVER_NAME"] = "board.example"

@app.get("/")
def home():
    return "".join(f'<a href="{url_for("thread", slug=slug)}">x</a>' for slug in ("tea", "cups"))

@app.get("/thread/<slug>")
def thread(slug):
    return ("", 404) if slug not in ("tea", "cups") else "<p>hello"

@app.get("/api/thread")
def api():
    return [{"id": 41}, {"id": 42}]

@app.get("/api/thread/<int:thread_id>")
def api_thread(thread_id):
    return {} if thread_id > 40 else ({}, 404)

@app.get("/mine")
def mine():
    return redirect("/login?next=/mine")

@app.get("/broken")
def broken():
    raise RuntimeError

@app.get("/endless")
def endless():
    def tick():
        while True:
            time.sleep(0.05)
            yield "x"
    return tick()

@app.post("/write")
def write():
    return ""
"""
SERVE = """
import app, sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
class Quiet(WSGIRequestHandler):
    def log_message(self, *args): pass
server = make_server("127.0.0.1", 0, app.app, Server, Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def application(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield ("127.0.0.1", int(process.stdout.readline()))
    process.kill()
    process.wait()
    process.stdout.close()


def test_from_an_application_to_a_load(application, tmp_path, driver, monkeypatch):
    monkeypatch.setattr("pretune.loadtests.asking.ask.__defaults__", (1.0,))
    done = subprocess.run(
        [sys.executable, BOOTSTRAP, "inspect", "app", "--chdir", tmp_path],
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout)
    headers = [*said["headers"].items(), ("Host", said["host"])]
    workload = probe(application, said["routes"], headers)
    paths = {endpoint.name: endpoint.paths for endpoint in workload.endpoints}
    assert paths == {
        "/": ("/",),
        "/thread/<slug>": ("/thread/tea", "/thread/cups"),
        "/api/thread": ("/api/thread",),
        "/api/thread/<int:thread_id>": ("/api/thread/41", "/api/thread/42"),
    }
    reasons = {skipped.name: skipped.reason for skipped in workload.skipped}
    assert reasons == {
        "/mine": "redirects to a login page",
        "/broken": "answers 500",
        "/endless": "never ends",
        "/static/<path:filename>": "static files, which a web server in front should serve",
        "POST /write": "only answers POST",
    }
    file = tmp_path / "load.records"
    result = driver.run(application, workload, Load(2, 0.5), file).wait(20)
    sent = records.read(file)
    assert result.errors == 0
    assert set(sent["status"]) == {200}
    assert set(sent["endpoint"]) == {1, 2, 3, 4}
