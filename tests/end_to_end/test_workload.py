"""`tune workload`: from an access log to a file, and from the file to the plan of a run."""

import random
import tomllib

from support.access_logs import BEGIN, line, write
from support.runs import Sandbox

from pretune.loadtests import file as workload_file

APP = """
from flask import Flask

app = Flask(__name__)

@app.get("/")
def home():
    return '<a href="/product/3/">three</a> <a href="/product/4/">four</a>'

@app.get("/product/<int:number>/")
def product(number):
    return ("", 404) if number > 9 else f"product {number}"

@app.get("/search")
def search():
    return "found"

@app.get("/reset/<token>/")
def reset(token):
    return ("", 404)
"""
SECRETS = ("s3cret-query", "s3cret-token", "203.0.113.9", "s3cret-agent", "987654321")


def make_log(sandbox: Sandbox) -> None:
    (sandbox.directory / "pyproject.toml").unlink()
    (sandbox.directory / "app.py").write_text(APP)
    dice = random.Random(1)
    kinds = ["/", "/product/987654321/", "/search?q=s3cret-query", "/reset/s3cret-token/"]
    lines = [
        line(BEGIN + at // 40, f"GET {path} HTTP/1.1", agent="s3cret-agent")
        for at, path in enumerate(dice.choices(kinds, [50, 30, 15, 5], k=9_600))
    ]
    write(sandbox.directory / "access.log", lines)


def test_a_log_becomes_a_file_and_the_file_a_plan(sandbox: Sandbox) -> None:
    make_log(sandbox)
    code, output = sandbox.run("workload", "app:app", "access.log", "-o", "traffic.toml")
    assert code == 0, output
    assert "requests/s: that is the rate to carry" in " ".join(output.split())
    text = (sandbox.directory / "traffic.toml").read_text()
    written = tomllib.loads(text)
    shares = {each.get("route", each.get("path")): each["share"] for each in written["endpoint"]}
    assert shares.keys() == {"/", "/product/<int:number>/", "/search"}
    assert abs(shares["/"] - 100 * 50 / 95) < 2
    assert 36 < written["rps"] < 40
    assert "/reset/<token>/" in text
    everything = [path for path in sandbox.directory.parent.rglob("*") if path.is_file()]
    for secret in SECRETS:
        assert secret not in output
        for path in everything:
            if path.name != "access.log" and path.name != "app.py":
                assert secret.encode() not in path.read_bytes(), path
    code, output = sandbox.run("app:app", "--workload", "traffic.toml", "--dry-run")
    assert code == 0, output
    assert "/product/3/" in output
    assert "requests/s" in output
    assert sandbox.survivors() == []


def test_the_log_itself_is_a_workload(sandbox: Sandbox) -> None:
    make_log(sandbox)
    code, output = sandbox.run("app:app", "--workload", "access.log", "--dry-run", "--rps", "7")
    assert code == 0, output
    assert "7 requests/s" in output
    assert "95% of the 9,600 requests in access.log" in " ".join(output.split())


def test_without_a_log_the_routes_that_answer_are_written(sandbox: Sandbox) -> None:
    make_log(sandbox)
    code, output = sandbox.run("workload", "app:app", "-o", "traffic.toml")
    assert code == 0, output
    read = workload_file.read(sandbox.directory / "traffic.toml")
    assert {each.name for each in read.endpoints} == {"/", "/product/<int:number>/", "/search"}


def test_an_app_that_does_not_start_is_said(sandbox: Sandbox) -> None:
    make_log(sandbox)
    (sandbox.directory / "app.py").write_text("raise ValueError('settings are broken')\n")
    code, output = sandbox.run("workload", "app:app", "access.log")
    assert code == 3, output
    assert "settings are broken" in output
    assert not (sandbox.directory / "traffic.toml").exists()
