"""HUP reads the configuration again; the user's hooks run at the right moments."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

CONF = """\
import os
workers = {workers}
threads = {threads}
raw_env = ["APP_VERSION={version}"]
{more}
"""

APP = """\
import os
def application(environ, start_response):
    start_response("200 OK", [])
    threads = int(environ["wsgi.multithread"])
    return [f"{os.environ.get('APP_VERSION')} {threads}".encode()]
"""

HOOKS = """
def note(name):
    def hook(*arguments):
        with open({path!r}, "a") as file:
            said = []
            for each in arguments:
                said.append(str(getattr(each, "pid", each) and type(each).__name__))
            print(name, os.getpid(), *said, file=file)
    return hook
for name in {names!r}:
    globals()[name] = note(name)
"""


class Configured:
    """A server with a configuration file that can be written anew."""

    def __init__(self, start, tmp_path: Path) -> None:
        self.file = tmp_path / "gunicorn.conf.py"
        (tmp_path / "app.py").write_text(APP)
        self._start = start
        self.values = {"workers": 2, "threads": 1, "version": "1", "more": ""}

    def write(self, **values: object) -> None:
        self.values.update(values)
        self.file.write_text(CONF.format(**self.values))

    def start(self, *flags: str, **options):
        self.write()
        return self._start("-c", str(self.file), *flags, **options)


@pytest.fixture
def configured(start, tmp_path: Path) -> Configured:
    return Configured(start, tmp_path)


def test_hup_takes_workers_threads_environment_and_preload_from_the_file(configured):
    one = configured.start()
    assert one.text() == "1 0"
    configured.write(workers=3, threads=2, version="2")
    one.send(signal.SIGHUP)
    one.wait_log("ready: 3 workers")
    one.wait_log("ended (stop", 2)
    assert one.text() == "2 1"
    configured.write(workers=1, threads=5, version="3", more="preload_app = True")
    one.send(signal.SIGHUP)
    one.wait_log("ready: 1 workers")
    one.wait_log("ended (stop", 5)
    assert one.text() == "3 1"
    assert "loaded the app in" in one.log()


@pytest.mark.parametrize("broken", ["workers = 'many'", "this is no python", "raise ValueError(7)"])
def test_a_broken_file_leaves_the_old_configuration_serving(configured, broken):
    one = configured.start()
    before = one.workers()
    configured.write(more=broken)
    one.send(signal.SIGHUP)
    one.wait_log("the configuration is broken, the old one stays")
    assert one.text() == "1 0"
    assert one.workers() == before
    configured.write(more="", version="2")
    one.send(signal.SIGHUP)
    one.wait_log("ended (stop", 2)
    assert one.text() == "2 0"


def test_what_a_reload_cannot_change_is_named(configured):
    one = configured.start()
    configured.write(more="reuse_port = True", version="2")
    one.send(signal.SIGHUP)
    one.wait_log("reuse_port changes with a restart, not with a reload")
    one.wait_log("ended (stop", 2)
    assert one.text() == "2 0"


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_hooks_run_in_the_right_process_and_order(configured, tmp_path, preload):
    path = tmp_path / "said"
    names = ["on_starting", "on_reload", "when_ready", "pre_fork", "post_fork", "post_worker_init",
             "child_exit", "worker_exit", "nworkers_changed", "on_exit", "worker_int"]  # fmt: skip
    more = HOOKS.format(path=str(path), names=names) + f"preload_app = {preload}\n"
    configured.values.update(workers=1, more=more)
    one = configured.start()
    master = one.process.pid
    (worker,) = one.workers()
    one.send(signal.SIGTTIN)
    one.wait_log("ready: 2 workers")
    one.send(signal.SIGTERM)
    one.process.wait(30)
    said = [line.split() for line in path.read_text().splitlines()]
    by_name = {name: [(int(pid), rest) for n, pid, *rest in said if n == name] for name in names}
    assert [n for n, *_ in said][:2] == ["on_starting", "nworkers_changed"]
    assert [n for n, *_ in said][-1] == "on_exit"
    for name in ("on_starting", "when_ready", "on_exit"):
        assert by_name[name] == [(master, ["Server"])]
    assert [pid for pid, _ in by_name["child_exit"]] == [master] * 2
    forkers = {pid for pid, _ in by_name["pre_fork"]}
    assert (forkers == {master}) is not preload
    assert worker not in forkers
    assert len(by_name["pre_fork"]) == 2
    for name in ("post_fork", "post_worker_init", "worker_exit"):
        assert worker in [pid for pid, _ in by_name[name]]
        assert len(by_name[name]) == 2
    order = [n for n, pid, *_ in said if pid == str(worker)]
    assert order == ["post_fork", "post_worker_init", "worker_exit"]
    assert len(by_name["nworkers_changed"]) == 2
    assert by_name["worker_int"] == []


def test_int_runs_the_hooks_of_the_workers(configured, tmp_path):
    path = tmp_path / "said"
    names = ["worker_int", "worker_exit"]
    configured.values.update(workers=1, more=HOOKS.format(path=str(path), names=names))
    one = configured.start()
    one.send(signal.SIGINT)
    one.process.wait(30)
    assert [line.split()[0] for line in path.read_text().splitlines()] == names


def test_a_stuck_worker_is_aborted_where_a_hook_wants_to_know(configured, tmp_path):
    path = tmp_path / "said"
    hooks = HOOKS.format(path=str(path), names=["worker_abort"])
    configured.values.update(workers=1, more=hooks + "timeout = 1\n")
    (tmp_path / "app.py").write_text(
        "import time\ndef application(environ, start_response):\n    time.sleep(600)\n"
    )
    one = configured.start()
    with one.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(100) == b""
    one.wait_log("ended (timeout")
    assert path.read_text().startswith("worker_abort")
    assert "in application" in one.log()


@pytest.mark.parametrize(
    ("name", "code"), [("on_starting", 1), ("post_fork", 3), ("post_worker_init", 3)]
)
def test_hooks_without_which_nothing_starts(configured, name, code):
    configured.values["more"] = f"def {name}(*_): raise RuntimeError('not today')"
    one = configured.start(ready=False)
    assert one.process.wait(30) == code
    assert "not today" in one.log()
    assert f"the hook {name} failed" in one.log()
    assert "in raise_on" not in one.log()


@pytest.mark.parametrize("name", ["when_ready", "pre_fork", "child_exit", "on_exit", "on_reload"])
def test_other_hooks_may_fail(configured, name):
    configured.values["more"] = f"def {name}(*_): raise RuntimeError('not today')"
    one = configured.start()
    one.send(signal.SIGHUP)
    one.wait_log("ended (stop", 2)
    assert one.text() == "1 0"
    one.send(signal.SIGTERM)
    assert one.process.wait(30) == 0
    assert f"the hook {name} failed" in one.log()
    assert 'gunicorn.conf.py", line' in one.log()
