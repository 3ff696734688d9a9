"""Root opens, in directories of others, nothing but what these could have opened themselves."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pretune.server.master.pidfile import PidFile, PidFileTaken
from pretune.server.process import listening
from pretune.server.process.log_sink import Sink
from pretune.server.process.path_rights import controller, place_of

NOBODY = 65534
OTHER = 12345  # without an account
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def top():
    """Root's, and open to all; pytest's directories are for us alone."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def victim(top):
    path = top / "victim"
    path.write_text("secret\n")
    path.chmod(0o600)
    yield path
    info = path.stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (0, 0, 0o600)
    assert path.read_text() == "secret\n"


@pytest.fixture
def theirs(top):
    """A directory of the app's user."""
    path = top / "theirs"
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    return path


def user(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def write(path: Path, owner: tuple[int, int] | None = (NOBODY, NOBODY)) -> None:
    sink = Sink(str(path), 2, owner)
    sink.write("line\n")
    sink.close()


# -- logs


def test_a_new_log_is_the_workers(top, theirs):
    for path in (top / "log", theirs / "log"):
        write(path)
        write(path)
        assert user(path) == (NOBODY, NOBODY)
        assert path.read_text() == "line\nline\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    os.chown(theirs, OTHER, OTHER)
    write(theirs / "new")
    assert user(theirs / "new") == (NOBODY, NOBODY)


@pytest.mark.parametrize("how", ["symlink", "hard link", "symlinked directory", "sticky"])
def test_a_log_that_leads_to_a_file_of_roots_is_refused(top, theirs, victim, how):
    log = theirs / "log"
    if how == "symlink":
        log.symlink_to(victim)
    elif how == "hard link":
        os.link(victim, log)
    elif how == "symlinked directory":
        log = theirs / "logs" / "victim"
        (theirs / "logs").symlink_to(top)
    else:  # as /tmp
        theirs.chmod(0o1777)
        os.chown(theirs, 0, 0)
        log.symlink_to(victim)
        os.chown(log, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(OSError, match=r"symbolic link|denied|does not follow"):
        write(log)


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_hard_link_in_a_directory_of_many_is_refused(top, theirs, victim, mode):
    os.chown(theirs, 0, NOBODY)
    theirs.chmod(mode)
    os.link(victim, theirs / "log")
    with pytest.raises(PermissionError, match="more than one name"):
        write(theirs / "log")


def test_a_log_that_was_there_is_written_to_and_keeps_its_owner(top):
    path = top / "log"
    path.write_text("")  # as logrotate makes it
    write(path)
    assert user(path) == (0, 0)
    assert path.read_text() == "line\n"


def test_roots_own_links_are_followed(top):
    (top / "real").mkdir()
    (top / "linked").symlink_to("real")
    (top / "again").symlink_to(top / "linked")
    (top / "real" / "log").symlink_to("../elsewhere")
    write(top / "again" / ".." / "again" / "log")
    assert (top / "elsewhere").read_text() == "line\n"
    (top / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="symbolic links"):
        write(top / "circle")
    with pytest.raises(IsADirectoryError):
        write(top / "real" / "..")


@pytest.mark.parametrize("path", ["/dev/stdout", "/proc/self/fd/1", "linked"])
def test_what_is_open_already_is_reached_by_its_names(top, path):
    """As images do it: ``ln -s /dev/stdout /var/log/app/access.log``."""
    if path == "linked":
        path = str(top / "log")
        os.symlink("/dev/stdout", path)
    code = (
        "from pretune.server.process.log_sink import Sink\n"
        f"Sink({path!r}, 2, ({NOBODY}, {NOBODY})).write('line')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"line"


def test_a_relative_path_is_meant_from_here(top, theirs, victim, monkeypatch):
    monkeypatch.chdir(theirs)
    write(Path("log"))
    assert user(theirs / "log") == (NOBODY, NOBODY)
    (theirs / "link").symlink_to("../victim")
    with pytest.raises(OSError, match="symbolic links"):
        write(Path("link"))


def test_rights_come_back(theirs):
    before = os.getresuid(), os.getresgid(), os.getgroups()
    with place_of(str(theirs / "log")):
        assert (os.geteuid(), os.getegid()) == (NOBODY, NOBODY)
        assert 0 not in os.getgroups()
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before
    with pytest.raises(ZeroDivisionError), place_of(str(theirs / "log")):
        raise ZeroDivisionError
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


def test_nothing_stays_open(top, theirs, victim):
    (theirs / "link").symlink_to(victim)
    count = len(os.listdir("/proc/self/fd"))
    for path in (top / "a", theirs / "a", theirs / "link", top / "absent" / "a", top / "a" / "b"):
        with contextlib.suppress(OSError):
            write(path)
    assert len(os.listdir("/proc/self/fd")) == count


def test_who_controls_a_path(top, theirs):
    (theirs / "file").touch()  # root's, but the directory's owner can replace it
    (top / "file").touch()
    assert controller(str(top / "file")) == 0
    assert controller(str(top / "absent")) == 0
    assert controller(str(theirs / "file")) == NOBODY
    os.chown(top / "file", OTHER, 0)
    assert controller(str(top / "file")) == OTHER


# -- pid files


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_pid_file_is_not_written_through_a_link(theirs, victim, link):
    link(victim, theirs / "pid")
    with pytest.raises(PidFileTaken, match="cannot write"):
        PidFile(str(theirs / "pid")).create()


def test_a_pid_file_goes_through_its_life_in_a_directory_of_others(theirs, victim):
    file = PidFile(str(theirs / "pid.2"))
    file.create()
    (theirs / "pid").symlink_to(victim)
    file.rename(str(theirs / "pid"))
    assert (theirs / "pid").read_text() == f"{os.getpid()}\n"
    file.remove()
    assert os.listdir(theirs) == []


# -- unix sockets


def listen(path: Path, owner: tuple[int, int] | None = (NOBODY, NOBODY)) -> socket.socket:
    return listening.listen([f"unix:{path}"], 8, owner=owner)[0]


@pytest.mark.parametrize("owner", [None, (NOBODY, NOBODY), (OTHER, OTHER)])
def test_a_socket_in_a_directory_of_others(theirs, owner):
    for _ in range(2):  # the second time the first one's file is stale
        sock = listen(theirs / "sock", owner)
        assert listening.name(sock) == f"unix:{theirs}/sock"
        assert user(theirs / "sock") == (owner or (NOBODY, NOBODY))
        assert stat.S_IMODE((theirs / "sock").stat().st_mode) == 0o777
        listening.close([sock], unlink=False)
    sock = listen(theirs / "sock", owner)
    listening.close([sock], unlink=True)
    assert os.listdir(theirs) == []


def test_a_socket_is_not_made_where_a_link_leads(top, theirs):
    (theirs / "out").symlink_to(top)
    with pytest.raises(listening.BindFailed):
        listen(theirs / "out" / "sock")
    assert not (top / "sock").exists()


def test_the_owner_of_what_took_the_sockets_place_does_not_change(top, theirs, victim, monkeypatch):
    """Somebody is as fast as can be: between bind and chown."""
    os.chown(theirs, 0, NOBODY)
    theirs.chmod(0o775)
    bind = listening.Listener.bind

    def bind_and_swap(self: socket.socket, path: str) -> None:
        bind(self, path)
        os.unlink(path)
        os.link(victim, path)

    monkeypatch.setattr(listening.Listener, "bind", bind_and_swap, raising=False)
    with pytest.raises(listening.BindFailed, match="somebody is moving files"):
        listen(theirs / "sock")
