"""Every server of the field, started for real with applications on the frameworks people use."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from support import rings
from support.served import Served

from pretune.server.adapters import commands, hosted
from pretune.server.adapters.catalogue import SERVERS
from pretune.server.adapters.commands import STARTS
from pretune.server.adapters.launch import SIGNALS, BootFailed, Launch
from pretune.server.adapters.process import session_pids
from pretune.server.settings import WORKER_CLASSES, Settings
from pretune.server.telemetry import ENDPOINT_HEADER

APPS = {
    "flask_app": """
        import os, time, flask
        VERSION = "1"
        app = flask.Flask(__name__)
        @app.get("/")
        def index(): return f"{VERSION} {os.getpid()}"
        @app.get("/slow")
        def slow():
            open("slow_began", "w").close()
            time.sleep(1.0)
            return "slow"
        @app.get("/burn")
        def burn():
            end = time.thread_time() + 0.05
            while time.thread_time() < end: pass
            return str("x-pretune-endpoint" in flask.request.headers)
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
    "fastapi_app": """
        import asyncio, os, time, fastapi
        from contextlib import asynccontextmanager
        from fastapi.responses import PlainTextResponse
        VERSION = "1"
        @asynccontextmanager
        async def lifespan(app):
            await asyncio.sleep(0.2)
            yield
        app = fastapi.FastAPI(lifespan=lifespan, default_response_class=PlainTextResponse)
        @app.get("/")
        async def index(): return f"{VERSION} {os.getpid()}"
        @app.get("/slow")
        async def slow():
            open("slow_began", "w").close()
            await asyncio.sleep(1.0)
            return "slow"
        @app.get("/burn")
        async def burn(request: fastapi.Request):
            end = time.thread_time() + 0.05
            while time.thread_time() < end: pass
            return str("x-pretune-endpoint" in request.headers)
        """,
    "broken": "raise ValueError('broken on purpose')",
}
# mod_wsgi's daemons may be other users than we: an interpreter and an app that they can read
APACHE = Path(__file__).parents[3] / "build" / "apache" / "bin" / "python"
WSGI, ASGI = "flask_app", "fastapi_app"

# (server, worker class): what each carries
EACH = [(name, kind) for name, server in SERVERS.items() for kind in server.classes]
APP_OF = {"wsgi": WSGI, "asgi": ASGI}


def app_of(kind: str) -> str:
    return APP_OF[WORKER_CLASSES[kind]]


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Start a server on one of APPS; ends with a check that nothing of it is left."""
    with tempfile.TemporaryDirectory() as name:
        yield from serving(Path(name))


def serving(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    tmp_path.chmod(0o777)  # the app writes there, whoever runs it
    for name, text in APPS.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    (tmp_path / "rings").mkdir()
    started: list[Served] = []

    def start(name: str, target: str, kind: str, *, workers: int = 1, **settings) -> Served:
        if name == "mod_wsgi" and not APACHE.exists():
            pytest.skip("make build/apache/.done, with Apache installed")
        most = SERVERS[name].most_workers
        launch = Launch(
            target=target,
            settings=Settings(
                workers=workers if most is None else min(workers, most),
                worker_class=kind,
                graceful_timeout=5.0,
                **settings,
            ),
            python=APACHE if name == "mod_wsgi" else Path(sys.executable),
            chdir=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            log=tmp_path / "server.log",
            telemetry=tmp_path / "rings",
        )
        served = Served(STARTS[name](launch), launch)
        started.append(served)
        return served

    yield start
    for served in started:
        served.running.stop(15)
        assert session_pids(served.running.master_pid) == []


def test_the_table_says_something_of_every_setting_and_signal() -> None:
    assert set(STARTS) == set(SERVERS)
    names = {each.name for each in fields(Settings)} - {"worker_class"}
    for server in SERVERS.values():
        assert set(server.settings) == names, server.name
        assert set(server.signals) <= set(SIGNALS)
        assert "stop" in server.signals
        assert set(server.classes) <= set(WORKER_CLASSES)
        for meaning in server.settings.values():
            assert meaning.says.endswith(".")
            assert meaning.option or meaning.value is None


@pytest.mark.parametrize(("name", "kind"), EACH)
def test_it_is_ready_with_all_its_workers_answers_and_ends_in_good_order(
    serve: Callable[..., Served], name: str, kind: str
) -> None:
    server = SERVERS[name]
    threads = 2 if kind == "gthread" else 1
    served = serve(name, app_of(kind), kind, workers=2, threads=threads)
    served.address = served.running.wait_ready(120)
    pids = served.running.worker_pids()
    assert len(pids) == (server.most_workers or 2)
    assert set(pids) <= set(session_pids(served.running.master_pid))
    assert served.get().split()[0] == "1"
    assert int(served.get().split()[1]) in pids
    boots = [e.data["boot_s"] for e in served.running.events() if e.name == "worker_ready"]
    assert all(0 < boot < 30 for boot in boots)
    answers: list[str] = []

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answers.append(served.get("/slow"))

    thread = threading.Thread(target=ask)
    thread.start()
    served.wait_for((served.launch.chdir / "slow_began").exists)
    served.running.stop(15)
    thread.join()
    assert answers == ["slow"] or not server.drains
    assert served.running.worker_pids() == ()
    assert set(served.reasons()) <= {"stop"}


@pytest.mark.parametrize(
    "name", [name for name, server in SERVERS.items() if "gthread" in server.classes]
)
def test_django_is_carried_by_every_wsgi_server(serve: Callable[..., Served], name: str) -> None:
    served = serve(name, "django_app:application", "gthread", threads=2)
    served.address = served.running.wait_ready(120)
    assert served.get() == "hello"


@pytest.mark.parametrize(("name", "kind"), EACH)
def test_an_app_that_does_not_boot_is_told_with_its_own_traceback(
    serve: Callable[..., Served], name: str, kind: str
) -> None:
    served = serve(name, "broken", kind)
    with pytest.raises(BootFailed, match="broken on purpose") as failed:
        served.running.wait_ready(120)
    assert "broken.py" in failed.value.traceback
    assert "guest" not in failed.value.traceback


@pytest.mark.parametrize(("name", "kind"), EACH)
def test_each_request_leaves_its_record_and_the_app_does_not_see_our_header(
    serve: Callable[..., Served], name: str, kind: str
) -> None:
    served = serve(name, app_of(kind), kind)
    served.address = served.running.wait_ready(120)
    assert served.get("/burn", **{ENDPOINT_HEADER: "7"}) == "False"
    directory = served.launch.telemetry
    assert directory is not None
    served.wait_for(lambda: len(rings.records(directory)) == 1)
    (record,) = rings.records(directory)
    assert (record["status"], record["endpoint"]) == (200, 7)
    assert record["cpu"] >= 0.05


@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n, k in EACH if "reload" in SERVERS[n].signals]
)
def test_reload_replaces_every_worker_with_the_new_code(
    serve: Callable[..., Served], name: str, kind: str
) -> None:
    served = serve(name, app_of(kind), kind, workers=2)
    served.address = served.running.wait_ready(120)
    before = set(served.running.worker_pids())
    file = served.launch.chdir / f"{app_of(kind)}.py"
    file.write_text(file.read_text().replace('VERSION = "1"', 'VERSION = "2"'))
    served.running.send("reload")
    served.wait_for(lambda: len(set(served.running.worker_pids()) - before) == 2)
    served.wait_for(lambda: not before & set(served.running.worker_pids()))
    assert served.get().startswith("2 ")
    assert set(served.reasons()) <= {"stop"}


def test_uwsgi_says_that_it_ends_the_connection(serve: Callable[..., Served]) -> None:
    served = serve("uwsgi", WSGI, "gthread")
    connection = http.client.HTTPConnection(*served.running.wait_ready(120), timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        assert connection.getresponse().headers["Connection"] == "close"


def test_a_worker_that_was_killed_is_a_crash(serve: Callable[..., Served]) -> None:
    served = serve("uwsgi", WSGI, "gthread")
    served.running.wait_ready(120)
    (first,) = served.running.worker_pids()
    os.kill(first, signal.SIGKILL)
    served.wait_for(lambda: served.running.worker_pids() not in ((), (first,)))
    assert served.reasons() == ["crash"]


@pytest.mark.skipif(os.getuid() != 0, reason="only as root are Apache's daemons others than we")
def test_an_interpreter_that_apache_s_daemons_cannot_run_is_said_beforehand(tmp_path: Path) -> None:
    hidden = tmp_path / "python"  # below a directory of our own alone
    hidden.symlink_to(sys.executable)
    tmp_path.chmod(0o700)
    assert "www-data, who cannot run" in commands.hindrance("mod_wsgi", hidden)
    if APACHE.exists():
        assert commands.hindrance("mod_wsgi", APACHE) == ""


def test_what_is_not_installed_is_none() -> None:
    for server in SERVERS.values():
        if server.name == "mod_wsgi":
            continue  # in an environment of its own
        assert hosted.installed(Path(sys.executable), server.module, server.distribution)
    assert hosted.installed(Path(sys.executable), "nowhere", "nowhere") is None
    assert hosted.installed(Path("/nowhere/python"), "uvicorn", "uvicorn") is None
