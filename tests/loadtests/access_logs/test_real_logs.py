"""Logs that the servers themselves write, each in its own format: every request is counted."""

import http.client
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pretune.loadtests.access_logs.log import read_log

REQUESTS = Counter(
    {"/": 60, "/product/7/": 40, "/search?q=s3cret": 20, "/caf%C3%A9/": 10, "/a%22b": 5}
)
APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

async def asgi(scope, receive, send):
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
"""
NGINX = """
daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log; {user}
events {{}}
http {{
  log_format own '$time_iso8601 $request_method "$request_uri" $status $request_time';
  access_log {dir}/combined.log; access_log {dir}/own.log own;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 ok; }} }}
}}
"""
APACHE = """
ServerRoot {dir}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {dir}/apache.pid
ErrorLog {dir}/error.log
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
DocumentRoot {dir}
FallbackResource /app.py
LoadModule dir_module {modules}/mod_dir.so
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
LogFormat "%D %t \\"%r\\" %s" own
CustomLog {dir}/combined.log combined
CustomLog {dir}/own.log own
"""
MODULES = Path("/usr/lib/apache2/modules")


def find(program: str) -> str:
    found = shutil.which(program, path=f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def serve(tmp_path: Path, command: list[str], port: int) -> None:
    """Start the server, send it REQUESTS and end it."""
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, (tmp_path / "output").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            for path in REQUESTS.elements():
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", path, headers={"User-Agent": 'a "quoted" agent'})
                connection.getresponse().read()
                connection.close()
        finally:
            process.terminate()
            process.wait(30)


def check(path: Path, log_format: str | None = None, *, times: bool = True) -> None:
    log = read_log(path, log_format)
    expected = Counter(
        {f"GET {path.partition('?')[0]}".encode(): n for path, n in REQUESTS.items()}
    )
    assert log.tally.targets == expected
    assert (log.rates is not None) is times
    if log.rates is not None:
        assert abs(log.rates.peak_minute - time.time()) < 180 + 12 * 3600  # uWSGI writes local time
    assert b"s3cret" not in b"".join(log.tally.targets)


@pytest.fixture
def app(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_gunicorn(app):
    port = free_port()
    log = app / "access.log"
    command = [find("gunicorn"), "-b", f"127.0.0.1:{port}", "--access-logfile", str(log)]
    serve(app, [*command, "app:application"], port)
    check(log)


def test_gunicorn_with_a_format_of_ones_own(app):
    port = free_port()
    log, text = app / "access.log", '%(t)s "%(r)s" %(s)s %(D)s "%(a)s"'
    command = [find("gunicorn"), "-b", f"127.0.0.1:{port}", "--access-logfile", str(log)]
    serve(app, [*command, "--access-logformat", text, "app:application"], port)
    check(log, text)


def test_uwsgi(app):
    port = free_port()
    log = app / "uwsgi.log"
    command = [find("uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--logto", str(log)]
    serve(app, [*command, "--module", "app:application", "--die-on-term"], port)
    check(log)


def test_uvicorn(app):
    port = free_port()
    command = [find("uvicorn"), "app:asgi", "--port", str(port), "--lifespan", "off"]
    serve(app, command, port)
    check(app / "output", times=False)


def test_nginx(tmp_path):
    port = free_port()
    conf = tmp_path / "nginx.conf"
    conf.write_text(NGINX.format(dir=tmp_path, port=port, user="user root;"))
    serve(tmp_path, [find("nginx"), "-c", str(conf)], port)
    check(tmp_path / "combined.log")
    check(
        tmp_path / "own.log", '$time_iso8601 $request_method "$request_uri" $status $request_time'
    )


def test_apache(app):
    if not MODULES.is_dir():
        pytest.skip("apache2 is not installed")
    port = free_port()
    conf = app / "apache.conf"
    conf.write_text(APACHE.format(dir=app, port=port, modules=MODULES, user=""))
    serve(app, [find("apache2"), "-f", str(conf), "-DFOREGROUND"], port)
    check(app / "combined.log")
    check(app / "own.log", '%D %t "%r" %s')
