"""The real gunicorn behind the adapters' interface: what it serves, says, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support import rings
from support.served import Served

from pretune.server.adapters import gunicorn
from pretune.server.adapters.launch import SIGNALS, BootFailed, Launch
from pretune.server.adapters.process import session_pids
from pretune.server.hosted.under_gunicorn import gunicorn_settings
from pretune.server.settings import Settings
from pretune.server.telemetry import ENDPOINT_HEADER

pytest.importorskip("gunicorn")

APPS = {
    "plain": """
        import os, time
        VERSION = "1"
        class Parts:
            def __iter__(self): yield b"one"; yield b"two"
            def close(self): print("closed by the server", flush=True)
        def application(environ, start_response):
            path = environ["PATH_INFO"]
            if path == "/broken": raise RuntimeError("broken on purpose")
            if path == "/slow": time.sleep(1.0)
            if path == "/stuck": time.sleep(60)
            start_response("200 OK", [("Content-Type", "text/plain")])
            if path == "/file": return environ["wsgi.file_wrapper"](open(__file__, "rb"))
            if path == "/parts": return Parts()
            if path == "/burn":
                end = time.thread_time() + 0.05
                while time.thread_time() < end: pass
            if path == "/headers": return [str("HTTP_X_PRETUNE_ENDPOINT" in environ).encode()]
            return [f"{VERSION} {os.getpid()}".encode()]
        """,
    "flask_app": """
        import flask
        app = flask.Flask(__name__)
        @app.get("/")
        def index(): return "hello"
        """,
    "django_app": """
        from django.conf import settings
        settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
        import django; django.setup()
        from django.http import HttpResponse
        from django.urls import path
        from django.core.wsgi import get_wsgi_application
        urlpatterns = [path("", lambda request: HttpResponse("hello"))]
        application = get_wsgi_application()
        """,
    "loop": """
        import asyncio, time
        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await asyncio.sleep(0.2)
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
                return
            end = time.thread_time() + 0.01
            while time.thread_time() < end: pass
            await asyncio.sleep(0.3)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})
        """,
    "returns": """
        async def application(scope, receive, send):
            if scope["type"] != "http":
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})
        """,
    "raises": """
        async def application(scope, receive, send):
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})
        """,
    "broken": "raise ValueError('broken on purpose')",
}


class Gunicorn(Served):
    def children(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.running.master_pid).children()}

    def records(self) -> list[dict]:
        assert self.launch.telemetry is not None
        return rings.records(self.launch.telemetry)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Gunicorn]]:
    """Start gunicorn on one of APPS; ends with a check that nothing of it is left."""
    for name, text in APPS.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    started: list[Gunicorn] = []

    def start(target: str = "plain", *, telemetry: bool = False, **settings) -> Gunicorn:
        telemetry_of = tmp_path / "rings"
        telemetry_of.mkdir(exist_ok=True)
        launch = Launch(
            target=target,
            settings=Settings(**{"graceful_timeout": 5.0, **settings}),
            python=Path(sys.executable),
            chdir=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            log=tmp_path / "gunicorn.log",
            telemetry=telemetry_of if telemetry else None,
        )
        served = Gunicorn(gunicorn.start(launch), launch)
        started.append(served)
        if target != "broken":
            served.address = served.running.wait_ready(120)
        return served

    yield start
    for served in started:
        served.running.stop(15)
        assert session_pids(served.running.master_pid) == []


@pytest.mark.parametrize("target", ["flask_app", "django_app:application"])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_ready_means_that_every_worker_of_the_process_tree_has_booted(
    serve: Callable[..., Gunicorn], target: str, kind: str
) -> None:
    served = serve(target, workers=2, threads=2 if kind == "gthread" else 1, worker_class=kind)
    assert set(served.running.worker_pids()) == served.children()
    assert len(served.children()) == 2
    assert served.get() == "hello"
    boots = [e.data["boot_s"] for e in served.running.events() if e.name == "worker_ready"]
    assert len(boots) == 2
    assert all(0 < boot < 30 for boot in boots)


def test_an_event_loop_is_ready_when_the_app_s_lifespan_has_begun(
    serve: Callable[..., Gunicorn],
) -> None:
    served = serve("loop", worker_class="asgi", telemetry=True)
    (ready,) = [e for e in served.running.events() if e.name == "worker_ready"]
    assert ready.data["boot_s"] >= 0.2
    threads = [threading.Thread(target=served.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served.wait_for(lambda: len(served.records()) == 8)  # one is written after the answer is sent
    records = served.records()
    # 10 ms each; the clock of the loop's thread over a whole request would say up to 80 ms
    assert sum(record["cpu"] for record in records) < 8 * 0.03
    assert all(record["cpu"] >= 0.0099 for record in records)
    assert all(record["wall"] >= 0.3 for record in records)
    assert {record["status"] for record in records} == {200}


@pytest.mark.parametrize("target", ["returns", "raises"])
def test_an_app_without_a_lifespan_is_ready(serve: Callable[..., Gunicorn], target: str) -> None:
    served = serve(target, worker_class="asgi", telemetry=True)
    assert served.get() == "hello"


@pytest.mark.parametrize("preload", [False, True])
def test_an_app_that_does_not_boot_is_told_with_its_own_traceback(
    serve: Callable[..., Gunicorn], preload: bool
) -> None:
    served = serve("broken", preload_app=preload)
    with pytest.raises(BootFailed, match="broken on purpose") as failed:
        served.running.wait_ready(120)
    assert "broken.py" in failed.value.traceback
    assert "under_gunicorn" not in failed.value.traceback


def test_stop_answers_what_has_begun_and_leaves_nothing(serve: Callable[..., Gunicorn]) -> None:
    served = serve(workers=2, threads=2)
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(served.get("/slow")))
    thread.start()
    time.sleep(0.3)
    served.running.stop(15)
    thread.join()
    assert answers[0].startswith("1 ")
    assert served.running.worker_pids() == ()
    assert served.reasons() == ["stop", "stop"]


def test_reload_replaces_every_worker_with_the_new_code(serve: Callable[..., Gunicorn]) -> None:
    served = serve(workers=2)
    before = set(served.running.worker_pids())
    file = served.launch.chdir / "plain.py"
    file.write_text(file.read_text().replace('VERSION = "1"', 'VERSION = "2"'))
    served.running.send("reload")
    served.wait_for(lambda: len(set(served.running.worker_pids()) - before) == 2)
    served.wait_for(lambda: not before & set(served.running.worker_pids()))
    assert served.get().startswith("2 ")
    assert set(served.running.worker_pids()) == served.children()
    assert served.reasons() == ["stop", "stop"]


def test_workers_are_added_and_removed(serve: Callable[..., Gunicorn]) -> None:
    served = serve(workers=1)
    served.running.send("add_worker")
    served.wait_for(lambda: len(served.running.worker_pids()) == 2)
    served.running.send("remove_worker")
    served.wait_for(lambda: len(served.running.worker_pids()) == 1)
    assert set(gunicorn.SIGNALS) <= set(SIGNALS)
    with pytest.raises(KeyError):
        served.running.send("dance")


@pytest.mark.parametrize(
    ("reason", "settings"),
    [
        ("max_requests", {"max_requests": 2}),
        ("timeout", {"timeout": 1.0, "worker_class": "sync"}),
        ("crash", {}),
    ],
)
def test_why_a_worker_left_is_told(
    serve: Callable[..., Gunicorn], reason: str, settings: dict[str, object]
) -> None:
    served = serve(**settings)
    (first,) = served.running.worker_pids()
    if reason == "crash":
        os.kill(first, signal.SIGKILL)
    for _ in range(2):
        with contextlib.suppress(OSError, http.client.HTTPException):
            if reason != "crash":
                served.get("/stuck" if reason == "timeout" else "/")
    served.wait_for(lambda: served.running.worker_pids() not in ((), (first,)))
    assert served.reasons() == [reason]


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_each_request_leaves_its_record(serve: Callable[..., Gunicorn], kind: str) -> None:
    served = serve(worker_class=kind, telemetry=True)
    name = ENDPOINT_HEADER.replace("-", "_")
    for path in ("/", "/burn", "/parts", "/file", "/broken", "/headers"):
        answer = served.get(path, **{name.replace("_", "-"): "7"})
    assert answer == "False"  # the app does not see our header
    served.wait_for(lambda: len(served.records()) == 6)  # one is written after the answer is sent
    plain, burn, parts, file, broken, _ = served.records()
    assert [r["status"] for r in (plain, burn, parts, file)] == [200] * 4
    assert broken["status"] == 0
    assert {r["endpoint"] for r in served.records()} == {7}
    assert burn["cpu"] >= 0.05
    assert burn["wall"] >= 0.05 > plain["cpu"]
    head = len("Content-Type") + len("text/plain") + 4
    assert parts["bytes"] == head + len("onetwo")
    assert file["bytes"] == head  # a file is sent by the kernel, past the app
    served.wait_for(lambda: "closed by the server" in served.launch.log.read_text())


def test_settings_are_gunicorn_s_own_in_whole_seconds() -> None:
    given = gunicorn_settings(Settings(timeout=0.5, worker_class="asgi"), (25, 0, 0))
    assert given["timeout"] == 1
    assert given["worker_class"] == "asgi"
    older = gunicorn_settings(Settings(worker_class="asgi"), (23, 0, 0))
    assert older["worker_class"] == "uvicorn_worker.UvicornWorker"


def test_what_is_not_installed_is_none() -> None:
    assert gunicorn.installed(Path(sys.executable), "wsgi")
    assert gunicorn.installed(Path("/nowhere/python"), "wsgi") is None
