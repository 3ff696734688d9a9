"""The program is replaced while it serves: two masters, one set of sockets."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretune.server.adapters import embedded

APP = """\
import os
VERSION = {version!r}
def application(environ, start_response):
    start_response("200 OK", [])
    return [f"{{VERSION}} {{os.getppid()}}".encode()]
"""


class Started:
    """A server with a log and a pid file, and whatever grows out of it."""

    def __init__(self, directory: Path, bind: str, *flags: str, **environ: str) -> None:
        self.directory = directory
        self.bind = bind
        self.log_file = directory / "log"
        self.pid_file = directory / "pid"
        command = [sys.executable, str(embedded._BOOTSTRAP), "serve", "app", "-b", bind]
        command += ["--pid", str(self.pid_file), "--error-logfile", str(self.log_file), *flags]
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environ},
            start_new_session=True,
        )

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def wait_for(self, condition, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; the log:\n{self.log()}"
            time.sleep(0.02)

    def wait_log(self, text: str, count: int = 1) -> None:
        self.wait_for(lambda: self.log().count(text) >= count)

    def pid(self, suffix: str = "") -> int:
        path = Path(str(self.pid_file) + suffix)
        return int(path.read_text() or 0) if path.exists() else 0

    def connect(self) -> socket.socket:
        if self.bind.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(20)
            sock.connect(self.bind[5:])
            return sock
        text = self.log().split("listening at ")[1].split(",")[0]
        host, port = text.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=20)

    def get(self) -> tuple[str, int]:
        """Version of the app that answers, and the pid of its worker's master."""
        connection = http.client.HTTPConnection("x")
        with contextlib.closing(self.connect()) as connection.sock:
            connection.request("GET", "/", headers={"Connection": "close"})
            version, parent = connection.getresponse().read().decode().split()
        return version, int(parent)

    def end(self) -> None:
        """The new one first: it is not our child."""
        for pid in (self.pid(".2"), self.pid()):
            if pid and pid != self.process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(AssertionError):
            self.wait_for(lambda: not embedded.session_pids(self.process.pid), 15)
        left = embedded.session_pids(self.process.pid)
        embedded._end_session(self.process.pid)
        assert left == []


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    started: list[Started] = []

    def begin(bind: str = "127.0.0.1:0", *flags: str, **environ: str) -> Started:
        if not (tmp_path / "app.py").exists():
            (tmp_path / "app.py").write_text(APP.format(version="1"))
        one = Started(tmp_path, bind, *flags, **environ)
        started.append(one)
        one.wait_log("ready: ")
        return one

    yield begin
    for one in started:
        one.end()


def upgraded(one: Started) -> int:
    """Send USR2 and wait for the new master; its pid."""
    one.process.send_signal(signal.SIGUSR2)
    one.wait_log("the new master")
    one.wait_for(lambda: one.pid(".2"))
    return one.pid(".2")


@pytest.mark.parametrize("flags", [(), ("--preload",)], ids=["", "preload"])
def test_the_new_program_takes_over_without_losing_a_request(start, tmp_path, flags):
    one = start("127.0.0.1:0", "-w", "2", "--threads", "2", *flags)
    failures, answers = [], set()
    stop = False

    def ask() -> None:
        while not stop:
            try:
                answers.add(one.get())
            except Exception as error:
                failures.append(repr(error))

    import threading

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        (tmp_path / "app.py").write_text(APP.format(version="2"))
        new = upgraded(one)
        assert one.pid() == one.process.pid
        one.process.send_signal(signal.SIGTERM)
        one.process.wait(30)
        one.wait_for(lambda: one.pid() == new)
    finally:
        stop = True
        for thread in threads:
            thread.join()
    assert failures == []
    assert one.get()[0] == "2"
    assert one.pid(".2") == 0
    assert f"the old master {one.process.pid} is gone" in one.log()


def test_winch_lets_the_old_workers_go_and_hup_brings_them_back(start, tmp_path):
    path = f"unix:{tmp_path}/sock"
    one = start(path, "-w", "2")
    (tmp_path / "app.py").write_text(APP.format(version="2"))
    one.process.send_signal(signal.SIGWINCH)  # a terminal's: no new master serves yet
    new = upgraded(one)
    one.process.send_signal(signal.SIGWINCH)
    one.wait_log("ended (stop", 2)
    assert {one.get()[1] for _ in range(5)} & {one.process.pid} == set()
    one.process.send_signal(signal.SIGHUP)
    one.wait_log("the workers come back")
    one.wait_log("ready: 2 workers", 3)
    os.kill(new, signal.SIGTERM)
    one.wait_log(f"the new master {new} ended")
    assert one.get()[1] == one.process.pid  # its socket is still there
    assert Path(f"{tmp_path}/sock").exists()
    assert one.pid(".2") == 0
    # And again: the second attempt is kept.
    one.process.send_signal(signal.SIGUSR2)
    one.wait_log("the new master", 3)
    one.process.send_signal(signal.SIGTERM)
    one.process.wait(30)
    assert one.get()[0] == "2"
    new = one.pid() or one.pid(".2")
    os.kill(new, signal.SIGTERM)
    one.wait_for(lambda: not Path(f"{tmp_path}/sock").exists())


def test_a_new_program_that_does_not_boot_changes_nothing(start, tmp_path):
    one = start("127.0.0.1:0", "-w", "1")
    (tmp_path / "app.py").write_text("import no_such_library\n")
    one.process.send_signal(signal.SIGUSR2)
    one.wait_log("did not come up (exit code 3): this one goes on")
    assert one.get() == ("1", one.process.pid)
    one.process.send_signal(signal.SIGUSR2)  # it may be tried again
    one.wait_log("did not come up (exit code 3): this one goes on", 2)
    assert one.get() == ("1", one.process.pid)


def test_workers_that_left_for_a_program_that_died_come_back(start):
    one = start("127.0.0.1:0", "-w", "1")
    new = upgraded(one)
    one.process.send_signal(signal.SIGWINCH)
    one.wait_log("ended (stop")
    os.kill(new, signal.SIGKILL)
    one.wait_log("the workers come back")
    assert one.get()[1] == one.process.pid


def test_a_relative_start_in_another_directory_is_repeated(tmp_path):
    """``python bootstrap.py``, from its own folder, with --chdir and a link that moves."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "app.py").write_text(APP.format(version=version))
    link = tmp_path / "current"
    link.symlink_to("1")
    command = [os.path.relpath(sys.executable, link), embedded._BOOTSTRAP, "serve", "app"]
    command += ["-b", "127.0.0.1:0", "--pid", "../pid", "--error-logfile", "../log"]
    one = Started.__new__(Started)
    one.directory, one.bind = tmp_path, "127.0.0.1:0"
    one.log_file, one.pid_file = tmp_path / "log", tmp_path / "pid"
    one.process = subprocess.Popen(
        ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(link), *map(str, command)],
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
    )
    try:
        one.wait_log("ready: ")
        link.unlink()
        link.symlink_to("2")
        upgraded(one)
        one.process.send_signal(signal.SIGTERM)
        one.process.wait(30)
        assert one.get()[0] == "2"
    finally:
        one.end()
