"""Servers that do not become ready: what is said of them, and that nobody waits in vain."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pretune.advisor.failure import Refused
from pretune.advisor.preflight import servers
from pretune.server.adapters import commands, embedded, gunicorn
from pretune.server.adapters.catalogue import SERVERS
from pretune.server.adapters.launch import BootFailed, Launch
from pretune.server.adapters.process import ServerProcess, session_pids
from pretune.server.adapters.server_log import ServerLog, last_error, refuses
from pretune.server.settings import Settings

APACHE = Path(__file__).parents[3] / "build" / "apache" / "bin" / "python"
STARTS = {**commands.STARTS, "gunicorn": gunicorn.start, "embedded": embedded.start}
LONG = 60.0  # what a run waits; no test here lasts nearly as long
APPS = {
    "crashes": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "leaves": "import os\nprint('no config file', flush=True)\nos._exit(3)\n",
    "hangs": "import time\ntime.sleep(600)\n",
    "raises": "raise ValueError('broken on purpose')\n",
}

Start = Callable[..., ServerProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    with tempfile.TemporaryDirectory() as name:  # Apache's daemons read there
        place = Path(name)
        place.chmod(0o777)
        for app, text in APPS.items():
            (place / f"{app}.py").write_text(text)
        (place / "rings").mkdir()
        started: list[ServerProcess] = []

        def run(server: str, app: str) -> ServerProcess:
            if server == "mod_wsgi" and not APACHE.exists():
                pytest.skip("make build/apache/.done, with Apache installed")
            kind = next(iter(SERVERS[server].classes)) if server in SERVERS else "sync"
            launch = Launch(
                target=app,
                settings=Settings(workers=1, worker_class=kind),
                python=APACHE if server == "mod_wsgi" else Path(sys.executable),
                chdir=place,
                env={"PATH": os.environ["PATH"]},
                log=place / "server.log",
                telemetry=place / "rings",
            )
            started.append(STARTS[server](launch))
            return started[-1]

        yield run
        for process in started:
            process.stop(1)
            assert session_pids(process.master_pid) == []


@pytest.mark.parametrize("server", STARTS)
def test_a_server_whose_app_crashes_while_it_is_imported_is_not_waited_for(
    start: Start, server: str
) -> None:
    with pytest.raises(BootFailed) as failed:
        start(server, "crashes").wait_ready(LONG)
    said = str(failed.value)
    if server == "embedded":
        assert "SIGSEGV" in said
    else:
        assert said.startswith(server)
        assert "its last error: " in said or "it logged nothing" in said or "the last line" in said


@pytest.mark.parametrize("server", [name for name in STARTS if name != "mod_wsgi"])
def test_a_server_whose_app_ends_the_process_is_not_waited_for(start: Start, server: str) -> None:
    with pytest.raises(BootFailed, match=r"before it was ready|cannot start"):
        start(server, "leaves").wait_ready(LONG)


def test_what_the_server_printed_last_is_quoted(start: Start) -> None:
    with pytest.raises(BootFailed) as failed:
        start("waitress", "leaves").wait_ready(LONG)
    assert str(failed.value) == (
        "waitress ended with exit code 3 before it was ready; "
        "the last line of its log: no config file"
    )


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi", "granian", "waitress", "mod_wsgi"])
def test_an_app_that_hangs_is_named_with_its_server_and_what_was_waited_for(
    start: Start, server: str
) -> None:
    expected = f"{server} was not ready after 1 s: 0 of 1 workers had loaded the app; "
    with pytest.raises(TimeoutError) as failed:
        start(server, "hangs").wait_ready(1.0)
    assert str(failed.value).startswith(expected)
    assert len(str(failed.value)) > len(expected)


def test_an_app_that_raises_is_told_by_its_own_error_not_by_the_log(start: Start) -> None:
    for server in ("uwsgi", "mod_wsgi"):  # whose logs alone would be reason enough
        with pytest.raises(BootFailed, match="broken on purpose") as failed:
            start(server, "raises").wait_ready(LONG)
        assert "raises.py" in failed.value.traceback


@pytest.fixture
def other_module(tmp_path: Path) -> Path:
    """An interpreter that finds the module that was built for another one."""
    if not APACHE.exists():
        pytest.skip("make build/apache/.done, with Apache installed")
    bases = [
        subprocess.run(
            [python, "-c", "import sys; print(sys.base_prefix)"],
            capture_output=True, text=True, check=True,
        ).stdout
        for python in (APACHE, sys.executable)
    ]  # fmt: skip
    if bases[0] == bases[1]:
        pytest.skip("there is one Python on this machine")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (built,) = (APACHE.parents[1] / "lib").glob("python*/site-packages")
    (packages / "built_for_another.pth").write_text(f"{built}\n")
    return tmp_path / "venv" / "bin" / "python"


def test_a_module_built_for_another_python_is_said_before_the_start(other_module: Path) -> None:
    hindrance = commands.hindrance("mod_wsgi", other_module)
    assert hindrance.startswith("its module is linked with /")
    assert f"{other_module} runs on /" in hindrance
    assert hindrance.endswith(
        f"{other_module} -m pip install --no-cache-dir --force-reinstall mod_wsgi"
    )
    assert "\n" not in hindrance
    assert commands.hindrance("mod_wsgi", APACHE) == ""
    with pytest.raises(Refused, match="mod_wsgi: its module is linked with"):
        servers.choose("mod_wsgi", "wsgi", other_module)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ""),
        ("starting\nListening at: http://x\n", ""),
        ("[2026-01-01 10:00:00 +0000] [7] [ERROR] Connection in use: ('x', 80)\nbye\n",
         "Connection in use: ('x', 80)"),
        ("Traceback (most recent call last):\n  File \"x\"\nOSError: [Errno 13] no\n\nstopping",
         "OSError: [Errno 13] no"),
        ("[Mon] [wsgi:error] [pid 1:tid 1] ModuleNotFoundError: No module named '_socket'",
         "ModuleNotFoundError: No module named '_socket'"),
        ("x" * 1000 + " failed", "x" * 300),
    ],
)  # fmt: skip
def test_the_last_error_of_a_log(text: str, error: str) -> None:
    assert last_error(text) == error


def test_one_death_may_be_an_accident_and_three_are_not() -> None:
    refusals = ((r"died", 3), (r"no app", 1))
    assert not refuses("died\ndied\n", refusals)
    assert refuses("died\n" * 3, refusals)
    assert refuses("no app", refusals)


def test_lines_of_an_earlier_server_in_the_same_log_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("an error of before\n")
    log = ServerLog(file)
    assert log.quote() == "it logged nothing"
    with file.open("a") as opened:
        opened.write("hello\n")
    assert log.quote() == "the last line of its log: hello"
    file.unlink()
    assert log.quote() == "it logged nothing"
