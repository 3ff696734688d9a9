"""The program is replaced while it serves: two masters, one set of sockets."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from support.serverprocess import APP, Started

from pretune.server.adapters.process import BOOTSTRAP


def upgraded(one: Started) -> int:
    """Send USR2 and wait for the new master; its pid."""
    one.process.send_signal(signal.SIGUSR2)
    one.wait_log("the new master")
    one.wait_for(lambda: one.pid(".2"))
    return one.pid(".2")


@pytest.mark.parametrize("flags", [(), ("--preload",)], ids=["", "preload"])
def test_the_new_program_takes_over_without_losing_a_request(start, tmp_path, flags):
    one = start("-w", "2", "--threads", "2", *flags)
    failures, answers = [], set()
    stop = False

    def ask() -> None:
        while not stop:
            try:
                answers.add(one.get())
            except Exception as error:
                failures.append(repr(error))

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


def test_it_is_replaced_in_every_python(start, python):
    one = start("-w", "1", "--preload", python=python)
    new = upgraded(one)
    one.process.send_signal(signal.SIGTERM)
    one.process.wait(30)
    one.wait_for(lambda: one.pid() == new)
    os.kill(new, signal.SIGHUP)
    one.wait_log("ready: 1 workers", 3)
    assert one.get()[0] == "1"


def test_winch_lets_the_old_workers_go_and_hup_brings_them_back(start, tmp_path):
    one = start("-w", "2", bind=f"unix:{tmp_path}/sock")
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
    one = start("-w", "1")
    (tmp_path / "app.py").write_text("import no_such_library\n")
    one.process.send_signal(signal.SIGUSR2)
    one.wait_log("did not come up (exit code 3): this one goes on")
    assert one.get() == ("1", one.process.pid)
    one.process.send_signal(signal.SIGUSR2)  # it may be tried again
    one.wait_log("did not come up (exit code 3): this one goes on", 2)
    assert one.get() == ("1", one.process.pid)


def test_workers_that_left_for_a_program_that_died_come_back(start):
    one = start("-w", "1")
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
    command = [os.path.relpath(sys.executable, link), BOOTSTRAP, "serve", "app"]
    command += ["-b", "127.0.0.1:0", "--pid", "../pid", "--error-logfile", "../log"]
    prefix = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(link)]
    one = Started(tmp_path, command=[*map(str, command)], prefix=prefix)
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
