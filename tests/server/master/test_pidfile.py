"""Whose pid file it is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pretune.server.master.pidfile import PidFile, PidFileTaken

HOLDER = """
import sys, time
from pretune.server.master.pidfile import PidFile
PidFile(sys.argv[1]).create()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "pid")


@pytest.fixture
def holder(path):
    """Another process that holds the file."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def content(path):
    with open(path) as file:
        return file.read()


def test_it_holds_our_pid_and_goes_with_us(path):
    file = PidFile(path)
    file.create()
    assert content(path) == f"{os.getpid()}\n"
    file.remove()
    assert not os.path.exists(path)
    file.remove()


def test_a_living_master_keeps_its_file(path, holder):
    with pytest.raises(PidFileTaken, match=f"already running with pid {holder.pid}"):
        PidFile(path).create()
    assert content(path) == f"{holder.pid}\n"


def test_a_dead_masters_file_is_replaced(path, holder):
    holder.kill()
    holder.wait()
    file = PidFile(path)
    file.create()
    assert content(path) == f"{os.getpid()}\n"
    file.remove()


@pytest.mark.parametrize("text", [f"{os.getppid()}\n", "1\n", "nonsense", "", "123456789012345\n"])
def test_a_pid_that_is_somebody_elses_by_now_is_stale(path, text):
    with open(path, "w") as file:
        file.write(text)
    ours = PidFile(path)
    ours.create()
    assert content(path) == f"{os.getpid()}\n"
    ours.remove()


def test_a_forked_child_does_not_hold_it(path, holder):
    """Workers outlive a killed master for a moment; a new one must not be refused meanwhile."""
    file = PidFile(path + "2")
    file.create()
    pid = os.fork()
    if not pid:
        try:
            PidFile(path + "2").create()
        except PidFileTaken:
            os._exit(7)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] >> 8 == 7
    file.remove()


def test_anothers_file_is_left_alone(path):
    file = PidFile(path)
    file.create()
    os.rename(path, path + ".moved")
    with open(path, "w") as other:
        other.write("77\n")
    file.remove()
    assert content(path) == "77\n"


def test_a_file_somebody_wrote_another_pid_to_is_left_alone(path):
    file = PidFile(path)
    file.create()
    with open(path, "r+") as other:
        other.write("77\n")
        other.truncate()
    file.remove()
    assert content(path) == "77\n"


def test_renaming_keeps_what_it_says_and_who_holds_it(path):
    file = PidFile(path)
    file.create()
    with open(path + ".2", "w") as other:
        other.write("77\n")
    file.rename(path + ".2")
    assert not os.path.exists(path)
    assert content(path + ".2") == f"{os.getpid()}\n"
    file.remove()
    assert not os.path.exists(path + ".2")


def test_renaming_makes_it_anew_if_somebody_removed_it(path):
    file = PidFile(path)
    file.create()
    os.unlink(path)
    file.rename(path + ".2")
    assert content(path + ".2") == f"{os.getpid()}\n"
    file.remove()


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(PidFileTaken, match="No such file or directory"):
        PidFile(str(tmp_path / "absent" / "pid")).create()


def test_no_link_is_followed(path, tmp_path):
    (tmp_path / "precious").write_text("data")
    os.symlink(tmp_path / "precious", path)
    with pytest.raises(PidFileTaken):
        PidFile(path).create()
    assert (tmp_path / "precious").read_text() == "data"


def test_a_second_server_is_refused_and_the_first_undisturbed(tune, tmp_path):
    first = tune("app", "-w1", "-b", "127.0.0.1:0", "-p", "master.pid").ready()
    assert (tmp_path / "master.pid").read_text() == f"{first.pid}\n"
    second = tune("app", "-w1", "-b", "127.0.0.1:0", "-p", "master.pid")
    assert second.end() == 1
    assert f"already running with pid {first.pid}" in second.log()
    assert first.get() == "hello"
    assert (tmp_path / "master.pid").read_text() == f"{first.pid}\n"
    assert first.stop() == 0
    assert not (tmp_path / "master.pid").exists()
