"""nginx in front of real servers: its file, its process, and what it spares the workers."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from pretune.server.adapters import catalogue, embedded, gunicorn, nginx, nginx_conf
from pretune.server.adapters.catalogue import SERVERS
from pretune.server.adapters.commands import STARTS
from pretune.server.adapters.launch import Launch, RunningServer
from pretune.server.adapters.nginx import FrontFailed, FrontLaunch, RunningFront
from pretune.server.adapters.nginx_conf import Front, Instance, Static
from pretune.server.adapters.process import BOOTSTRAP, address, end_session, session_pids
from pretune.server.settings import Settings

NGINX = nginx.find()
needs_nginx = pytest.mark.skipif(NGINX is None, reason=f"nginx: {nginx_conf.INSTALL}")

APP = """
import os, time
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        open("slow_began", "w").close()
        time.sleep(1.0)
    names = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_SSL", "HTTP_FORWARDED", "HTTP_HOST")
    said = {name: environ.get(name) for name in names}
    said |= {"scheme": environ["wsgi.url_scheme"], "pid": os.getpid(),
             "peer": environ.get("REMOTE_PORT"), "read": len(environ["wsgi.input"].read())}
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(said).encode()]
"""
ASGI = """
async def application(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    said = repr({"read": 0, "scheme": scope["scheme"]}).encode()
    await send({"type": "http.response.body", "body": said})
"""
STARTS_ALL = {"embedded": embedded.start, "gunicorn": gunicorn.start, **STARTS}
# every server that comes with the tests' own environment
EACH = [("embedded", "gthread"), ("embedded", "sync"), ("embedded", "asgi")]
EACH += [("gunicorn", "gthread"), ("gunicorn", "sync"), ("gunicorn", "asgi")]
EACH += [(n, k) for n, s in SERVERS.items() if n != "mod_wsgi" for k in s.classes]


class Place:
    """A directory with an app, a server and an nginx before it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.chmod(0o755)
        (directory / "app.py").write_text(APP)
        (directory / "asgi.py").write_text(ASGI)
        (directory / "files").mkdir()
        (directory / "files" / "a.css").write_text("body {}\n" * 100)
        (directory / "rings").mkdir()
        self.servers: list[RunningServer] = []
        self.fronts: list[RunningFront] = []

    def serve(self, name: str = "embedded", kind: str = "gthread", **settings) -> Launch:
        launch = Launch(
            target="asgi" if kind == "asgi" else "app",
            settings=Settings(worker_class=kind, graceful_timeout=5.0, **settings),
            python=Path(sys.executable),
            chdir=self.directory,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            log=self.directory / "server.log",
            telemetry=self.directory / "rings",
        )
        running = STARTS_ALL[name](launch)
        self.servers.append(running)
        self.upstream = address(running.wait_ready(120))
        return launch

    def front(self, told: Front, **more) -> RunningFront:
        assert NGINX is not None
        own = self.directory / f"nginx{len(self.fronts)}"
        own.mkdir(mode=0o711)
        running = nginx.start(
            FrontLaunch(
                front=replace(told, upstream=self.upstream),
                binary=NGINX,
                directory=own,
                env={"PATH": os.environ["PATH"]},
                log=self.directory / "nginx.log",
                **more,
            )
        )
        self.fronts.append(running)
        return running

    def before(self, name: str = "embedded", kind: str = "gthread", **settings) -> RunningFront:
        launch = self.serve(name, kind, **settings)
        statics = [Static("/files/", str(self.directory / "files"))]
        return self.front(nginx_conf.before(name, launch.settings, statics=statics))


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as name:
        made = Place(Path(name))
        yield made
        for running in made.fronts:
            running.stop(10)
            assert session_pids(running.pid) == []
        for server in made.servers:
            server.stop(15)
            assert session_pids(server.master_pid) == []


def ask(
    where: tuple[str, int], path: str = "/", method: str = "GET", body=None, **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*where, timeout=20)
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=named)
        answer = connection.getresponse()
        return answer.status, answer.read()


def said(where: tuple[str, int], **headers: str) -> dict:
    status, body = ask(where, **headers)
    assert status == 200, body
    return eval(body)


# The file


def lines(told: Front, instance: Instance | None = None) -> list[str]:
    return [line.strip().rstrip(";") for line in nginx_conf.render(told, instance).splitlines()]


@needs_nginx
@pytest.mark.parametrize(
    ("idle", "upgrades", "told", "static", "instance"), [*product((0, 8), *[(False, True)] * 4)]
)
def test_nginx_accepts_every_file(
    tmp_path: Path, idle: int, upgrades: bool, told: bool, static: bool, instance: bool
) -> None:
    assert NGINX is not None
    statics = (Static("/static/", "/srv/my static"),) if static else ()
    made = Front(
        listen="127.0.0.1:8999", upstream="unix:/run/app.sock" if told else "[::1]:8000",
        idle=idle, upgrades=upgrades, told_scheme=told, statics=statics,
        worker_connections=5000 if static else 512,
    )  # fmt: skip
    own = Instance(str(tmp_path), nginx.user()) if instance else None
    file = tmp_path / "nginx.conf"
    file.write_text(nginx_conf.render(made, own))
    assert nginx.check(NGINX, file) == ""


@needs_nginx
def test_the_check_is_nginx_s_own(tmp_path: Path) -> None:
    assert NGINX is not None
    file = tmp_path / "nginx.conf"
    file.write_text(
        nginx_conf.render(Front()).replace("proxy_http_version 1.1", "proxy_http_version 9")
    )
    assert "invalid value" in nginx.check(NGINX, file)


@pytest.mark.parametrize(("name", "kind"), EACH)
def test_timeouts_are_in_an_order_that_closes_no_connection_under_a_request(name, kind) -> None:
    settings = Settings(workers=2, threads=4, worker_class=kind, timeout=30.0, keepalive=5.0)
    made = nginx_conf.before(name, settings)
    assert made.read_s > settings.timeout
    assert made.idle_s < settings.keepalive
    assert made.client_idle_s > 60
    assert made.connect_s < made.read_s
    assert (made.idle > 0) == catalogue.find(name).keeps_connections(settings)


def test_connections_are_kept_for_as_many_requests_as_are_served_at_once() -> None:
    eight = Settings(workers=2, threads=4)
    assert nginx_conf.before("gunicorn", eight).idle == 8
    assert nginx_conf.before("gunicorn", eight, processes=2).idle == 4
    assert nginx_conf.before("gunicorn", Settings(worker_class="sync")).idle == 0
    assert nginx_conf.before("gunicorn", Settings(keepalive=0.0)).idle == 0
    assert nginx_conf.before("uvicorn", Settings(worker_class="asgi")).idle == nginx_conf.MOST_IDLE
    assert "keepalive 8" in lines(nginx_conf.before("gunicorn", eight))
    closing = lines(nginx_conf.before("uwsgi", eight))
    assert "proxy_set_header Connection close" in closing
    assert not any(line.startswith("keepalive ") for line in closing)


def test_times_are_written_as_nginx_reads_them() -> None:
    written = lines(Front(idle=1, idle_s=2.5, read_s=35.0))
    assert "keepalive_timeout 2500ms" in written
    assert "proxy_read_timeout 35s" in written


@pytest.mark.parametrize(
    ("url", "directory"),
    [("static/", "/srv"), ("/static", "/srv"), ("/", "/srv"), ("/a$b/", "/srv"), ("/a/", "srv"),
     ("/a/", '/srv"; user root; "'), ("/a\n/", "/srv")],
)  # fmt: skip
def test_what_the_file_cannot_hold_is_refused(url: str, directory: str) -> None:
    with pytest.raises(ValueError, match=r"is not an absolute|does not begin|cannot hold"):
        Static(url, directory)


@pytest.mark.parametrize("address", ["x; user root", "a b", "", "$host:80", "a\n:80", "{}"])
def test_an_address_is_no_place_for_directives(address: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Front(upstream=address)
    with pytest.raises(ValueError, match="is no address"):
        Front(listen=address)


# The process


@needs_nginx
@pytest.mark.parametrize(("name", "kind"), EACH)
def test_it_stands_before_every_server(place: Place, name: str, kind: str) -> None:
    running = place.before(name, kind)
    for _ in range(5):
        status, body = ask(running.address)
        assert (status, eval(body)["read"]) == (200, 0)
    status, body = ask(running.address, "/files/a.css")
    assert (status, body) == (200, b"body {}\n" * 100)


@needs_nginx
@pytest.mark.parametrize(("name", "kind"), EACH)
def test_that_tls_ended_before_it_is_believed_as_servers_md_says(
    place: Place, name: str, kind: str
) -> None:
    place.serve(name, kind)
    running = place.front(Front(told_scheme=True))
    believed = "http" if name in ("hypercorn", "granian") else "https"
    assert said(running.address, X_Forwarded_Proto="https")["scheme"] == believed
    assert said(running.address)["scheme"] == "http"


@needs_nginx
def test_a_kept_connection_serves_many_requests_and_none_is_kept_where_not_told(
    place: Place,
) -> None:
    kept = place.before(threads=2)
    assert len({said(kept.address)["peer"] for _ in range(6)}) == 1
    closing = place.front(Front(idle=0))
    assert len({said(closing.address)["peer"] for _ in range(6)}) == 6


@needs_nginx
@pytest.mark.parametrize("name", ["embedded", "gunicorn"])
def test_no_request_is_lost_to_a_connection_that_idled(place: Place, name: str) -> None:
    """The server would close it after a second, nginx does so before."""
    running = place.before(name, threads=2, keepalive=1.0)
    for pause in (0.3, 0.48, 0.52, 0.9, 0.98, 1.0, 1.02):
        assert ask(running.address, method="POST", body=b"x")[0] == 200
        time.sleep(pause)


@needs_nginx
@pytest.mark.parametrize("name", ["embedded", "gunicorn"])
def test_the_app_learns_of_the_client_from_nginx_only(place: Place, name: str) -> None:
    running = place.before(name)
    lies = {
        "X_Forwarded_For": "6.6.6.6", "X_Forwarded_Ssl": "on", "X_Forwarded_Proto": "https",
        "Forwarded": "for=6.6.6.6",
    }  # fmt: skip
    told = said(running.address, **lies)
    assert told["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert (told["scheme"], told["HTTP_X_FORWARDED_SSL"], told["HTTP_FORWARDED"]) == (
        "http", None, None,
    )  # fmt: skip
    assert told["HTTP_HOST"] == address(running.address)
    behind = place.front(Front(told_scheme=True))
    assert said(behind.address, X_Forwarded_Proto="https")["scheme"] == "https"
    assert said(behind.address)["scheme"] == "http"


UNIX = {
    "embedded": [sys.executable, str(BOOTSTRAP), "serve", "app"],
    "gunicorn": [sys.executable, "-m", "gunicorn", "app"],
    "uwsgi": [sys.executable, "-c", "import sys, pyuwsgi; sys.argv[0] = 'u'; pyuwsgi.run()"],
}
BINDS = {
    "embedded": ["--bind", "unix:{}", "--threads", "2", "--umask", "0"],
    "gunicorn": ["--bind", "unix:{}", "--threads", "2"],
    "uwsgi": ["--http-socket", "{}", "--chmod-socket=666", "--module", "app", "--master"],
}


@needs_nginx
@pytest.mark.parametrize("name", UNIX)
def test_a_server_on_a_unix_socket_believes_it_too(place: Place, name: str) -> None:
    path = place.directory / "app.sock"
    line = [*UNIX[name], *(flag.format(path) for flag in BINDS[name])]
    with (place.directory / "server.log").open("wb") as log:
        server = subprocess.Popen(
            line,
            cwd=place.directory,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 40
        while not path.exists():
            assert time.monotonic() < deadline, (place.directory / "server.log").read_text()
            time.sleep(0.02)
        place.upstream = f"unix:{path}"
        running = place.front(nginx_conf.before(name, Settings(threads=2)))
        told = said(running.address)
        assert told["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
        behind = place.front(Front(told_scheme=True, idle=2 * (name != "uwsgi")))
        assert said(behind.address, X_Forwarded_Proto="https")["scheme"] == "https"
    finally:
        end_session(server.pid)
        server.wait()


@needs_nginx
def test_a_stop_answers_what_has_begun_and_leaves_nothing(place: Place) -> None:
    running = place.before(threads=2)
    found: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(ask(running.address, "/slow")))
    thread.start()
    deadline = time.monotonic() + 20
    while not (place.directory / "slow_began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    took = running.stop(10)
    thread.join(20)
    assert [status for status, _ in found] == [200]
    assert took > 0.2
    assert session_pids(running.pid) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(running.address, 1.0)


@needs_nginx
def test_all_its_processes_run_on_the_cores_it_is_given(place: Place) -> None:
    place.serve()
    core = min(os.sched_getaffinity(0))
    running = place.front(Front(worker_processes=2), cores=frozenset({core}))
    pids = session_pids(running.pid)
    assert len(pids) == 3
    assert all(os.sched_getaffinity(pid) == {core} for pid in pids)


@needs_nginx
def test_what_hinders_it_is_said_in_its_own_words(place: Place) -> None:
    place.upstream = "nobody.invalid:80"
    with pytest.raises(FrontFailed, match=r"nginx did not start.*host not found"):
        place.front(Front())


@needs_nginx
@pytest.mark.parametrize("name", ["embedded", "gunicorn"])
def test_a_slow_upload_does_not_hold_a_worker(place: Place, name: str) -> None:
    """One sync worker: a client that sends its body by and by, and another beside it."""
    running = place.before(name, "sync" if name == "gunicorn" else "gthread")
    slow = socket.create_connection(running.address, 20)
    with contextlib.closing(slow):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
        slow.sendall(head + b"ab")
        time.sleep(0.3)
        began = time.monotonic()
        assert ask(running.address)[0] == 200
        assert time.monotonic() - began < 5
        slow.sendall(b"cd")
        answer = b""
        while chunk := slow.recv(4096):
            answer += chunk
    assert b"'read': 4" in answer


@needs_nginx
def test_a_large_upload_arrives_whole_and_a_larger_one_is_refused(place: Place) -> None:
    running = place.before(threads=2)
    body = os.urandom(3 << 20)
    status, answer = ask(running.address, method="POST", body=body)
    assert (status, eval(answer)["read"]) == (200, len(body))
    strict = place.front(Front(largest_body=1 << 20))
    with contextlib.suppress(ConnectionError):
        assert ask(strict.address, method="POST", body=body)[0] == 413
    assert ask(strict.address, method="POST", body=body[: 1 << 19])[0] == 200


def test_who_needs_nginx_and_has_none_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    finder: Callable[[], Path | None] = nginx.find
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(nginx, "_PLACES", ())
    assert finder() is None
