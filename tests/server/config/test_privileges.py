"""As whom, where and with what the app runs. Most of it can only be tried by root."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.commands import APP, BOOTSTRAP

from pretune.server.config import privileges
from pretune.server.config.config import Config, ConfigBroken

PRELOADS = pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
NOBODY = 65534


def _for_strangers() -> str | None:
    """An interpreter that another user can run and read: root's own may lie in root's home."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        code = (
            "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            f"assert sys.version_info >= (3, 10); os.listdir({os.path.dirname(BOOTSTRAP)!r})\n"
            "import http, ctypes, wave"  # three that nobody has imported yet
        )
        if (
            os.path.exists(path)
            and not subprocess.run(
                [path, "-c", code], stderr=subprocess.DEVNULL, check=False
            ).returncode
        ):
            return path
    return None


PYTHON = _for_strangers() if os.geteuid() == 0 else None
AS_ROOT = pytest.mark.skipif(PYTHON is None, reason="needs root, and a Python for others")


def test_names_and_numbers():
    assert privileges.user_id("root") == privileges.user_id("0") == privileges.user_id(0) == 0
    assert privileges.group_id("root") == privileges.group_id("0") == 0
    with pytest.raises(ValueError, match="there is no user 'no-such-user'"):
        privileges.user_id("no-such-user")
    with pytest.raises(ValueError, match="there is no group 'no-such-group'"):
        privileges.group_id("no-such-group")


def test_a_user_brings_the_group_of_its_account():
    import pwd

    known = pwd.getpwnam("nobody")
    assert privileges.owner(Config("a")) is None
    assert privileges.owner(Config("a", user=known.pw_uid)) == (known.pw_uid, known.pw_gid)
    assert privileges.owner(Config("a", user=known.pw_uid, group=7)) == (known.pw_uid, 7)
    assert privileges.owner(Config("a", user=987654)) == (987654, os.getegid())
    assert privileges.owner(Config("a", group=7)) == (os.geteuid(), 7)


def test_what_only_root_can_do_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(privileges, "_capable", lambda number: False)
    privileges.check(Config("a"))
    privileges.check(Config("a", user=1000, group=os.getegid()))
    for asked in ({"user": 33, "group": os.getegid()}, {"group": 987654}):
        with pytest.raises(ConfigBroken, match="only root can arrange that"):
            privileges.check(Config("a", **asked))
    monkeypatch.setattr(privileges, "_capable", lambda number: True)
    privileges.check(Config("a", user=33, group=33))


@pytest.fixture
def open_place():
    """A directory with the app that a stranger can enter; pytest's are for us alone."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        Path(name, "app.py").write_text(APP)
        yield Path(name)


@AS_ROOT
@PRELOADS
def test_the_app_never_runs_as_root(tune, open_place, preload):
    server = tune(
        "app",
        "-w1",
        "-b",
        "127.0.0.1:0",
        "-u",
        str(NOBODY),
        "-g",
        str(NOBODY),
        *preload,
        cwd=open_place,
        python=PYTHON,
    ).ready()
    uid, gid, groups, imported = eval(server.get("/ids"))
    assert (uid, gid) == (NOBODY, NOBODY)
    assert imported == (NOBODY, NOBODY)
    assert 0 not in groups
    assert os.stat(f"/proc/{server.pid}").st_uid == 0  # the master stays
    status = Path(f"/proc/{server.workers()[0]}/status").read_text()
    assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status  # none saved either
    assert "CapEff:\t0000000000000000" in status


@AS_ROOT
def test_a_users_own_groups_come_along(tune, open_place):
    import grp
    import pwd

    for entry in pwd.getpwall():
        mine = {g.gr_gid for g in grp.getgrall() if entry.pw_name in g.gr_mem}
        if mine and entry.pw_uid:
            break
    else:
        pytest.skip("no account is in a further group")
    server = tune(
        "app", "-w1", "-b", "127.0.0.1:0", "-u", entry.pw_name, cwd=open_place, python=PYTHON
    ).ready()
    uid, gid, groups, _ = eval(server.get("/ids"))
    assert (uid, gid, set(groups)) == (entry.pw_uid, entry.pw_gid, mine | {entry.pw_gid})


@AS_ROOT
@PRELOADS
def test_workers_of_another_user_reopen_the_logs(tune, open_place, preload):
    place = open_place / "logs"
    place.mkdir(mode=0o755)  # root's: the workers could not make a file there
    server = tune(
        "app", "-w1", "-b", "127.0.0.1:0", "-u", str(NOBODY), "-g", str(NOBODY),
        "--access-logfile", "logs/access", "--error-logfile", "logs/error",
        "-p", "logs/pid", *preload, cwd=open_place, python=PYTHON,
    )  # fmt: skip
    error, access = place / "error", place / "access"
    server.wait_for(lambda: error.exists() and "] ready" in error.read_text())
    (line,) = [x for x in error.read_text().splitlines() if "listening at" in x]
    address = line.split("listening at ")[1].split(",")[0]
    server.get("/one", address)
    server.wait_for(lambda: "GET /one" in access.read_text())
    for path in (error, access):
        path.rename(f"{path}.1")
    server.signal(signal.SIGUSR1)
    server.wait_for(lambda: access.exists() and error.exists())

    def after() -> bool:
        server.get("/two", address)
        return "GET /two" in access.read_text()

    server.wait_for(after)
    assert access.stat().st_uid == NOBODY
    assert stat.S_IMODE(access.stat().st_mode) == 0o644
    assert "is not reopened" not in error.read_text()
    # A worker that is forked after that writes to the new file, too.
    (pid,) = re.findall(r"worker (\d+) is ready", (place / "error.1").read_text())
    os.kill(int(pid), signal.SIGKILL)
    server.wait_for(lambda: "is ready after" in error.read_text())
    server.get("/three", address)
    server.wait_for(lambda: "GET /three" in access.read_text())
    assert server.stop() == 0
    assert not (place / "pid").exists()


@AS_ROOT
@PRELOADS
def test_a_log_directory_of_the_app_gives_it_no_file_of_roots(tune, open_place, preload):
    """The app puts a link in place of its log; every way to open it again is tried."""
    logs, victim = open_place / "logs", open_place / "victim"
    logs.mkdir()
    os.chown(logs, NOBODY, NOBODY)
    victim.write_text("secret\n")
    victim.chmod(0o600)
    flags = (
        "app", "-w1", "-b", "127.0.0.1:0", "-u", str(NOBODY), "-g", str(NOBODY),
        "--access-logfile", "logs/access", "-p", "logs/pid", *preload,
    )  # fmt: skip
    server = tune(*flags, cwd=open_place, python=PYTHON).ready()
    server.get()
    assert (logs / "access").stat().st_uid == NOBODY
    (logs / "access").unlink()
    (logs / "access").symlink_to("../victim")
    for number, words in ((signal.SIGUSR1, "is not reopened"), (signal.SIGHUP, "is broken")):
        server.signal(number)
        server.wait_for(lambda words=words: words in server.log())
    server.get()
    before = server.log()
    server.signal(signal.SIGUSR2)
    server.wait_for(lambda: "did not come up" in server.log())
    assert server.log().count("cannot open the access log") > before.count("cannot open the access")
    (logs / "pid").unlink()
    (logs / "pid").symlink_to("../victim")
    assert server.stop() == 0
    (logs / "access").unlink()
    again = tune(*flags, cwd=open_place, python=PYTHON)
    assert again.end() == 1
    assert "cannot write the pid file" in again.log()
    assert victim.read_text() == "secret\n"
    info = victim.stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (0, 0, 0o600)


@AS_ROOT
def test_a_configuration_that_the_app_can_change_is_warned_of(tune, open_place):
    (open_place / "gunicorn.conf.py").write_text("workers = 1\n")
    flags = ("app", "-b", "127.0.0.1:0", "-u", str(NOBODY), "-g", str(NOBODY))
    server = tune(*flags, cwd=open_place, python=PYTHON).ready()
    assert "runs as root" not in server.log()
    server.stop()
    os.chown(open_place, NOBODY, NOBODY)
    server = tune(*flags, cwd=open_place, python=PYTHON).ready()
    assert f"runs as root, and user {NOBODY} can change it" in server.log()


@AS_ROOT
def test_a_unix_socket_belongs_to_the_workers_user(tune, open_place):
    server = tune(
        "app",
        "-w1",
        "-b",
        "unix:sock",
        "-u",
        str(NOBODY),
        "-g",
        str(NOBODY),
        "-m",
        "007",
        cwd=open_place,
        python=PYTHON,
    ).ready()
    info = (open_place / "sock").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (NOBODY, NOBODY, 0o770)
    address = f"unix:{open_place}/sock"
    assert server.get("/umask", address) == "0o7"
    assert server.stop() == 0
    assert not (open_place / "sock").exists()


@AS_ROOT
def test_a_place_the_user_may_not_read_is_a_clear_failure(tune, tmp_path):
    (tmp_path / "app.py").chmod(0o600)
    server = tune(
        "app", "-w1", "-b", "127.0.0.1:0", "-u", str(NOBODY), "-g", str(NOBODY), python=PYTHON
    )
    assert server.end() == 3
    assert "does not boot" in server.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_python_the_user_may_not_read_is_named(open_place):
    library = open_place / "closed"
    library.mkdir(mode=0o700)
    code = (
        "import os, sys\n"
        "from pretune.server.config import privileges\n"
        "from pretune.server.config.config import Config\n"
        f"os.__file__ = {str(library / 'os.py')!r}\n"
        f"privileges.assume(Config('a', chdir='/', user={NOBODY}, group={NOBODY}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"user {NOBODY} may not read Python's own library, {library}" in done.stderr


@AS_ROOT
def test_without_root_it_says_so(tune, open_place):
    first = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    (open_place / "logs").mkdir()
    server = tune(
        "app", "-w1", "-b", "127.0.0.1:0", "-u", "root", first=first, cwd=open_place, python=PYTHON
    )
    assert server.end() == 1
    assert server.log().strip().endswith("only root can arrange that")


def test_umask_directory_and_environment(tune, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "app.py").write_text((tmp_path / "app.py").read_text())
    server = tune(
        "app", "-w1", "-b", "127.0.0.1:0", "--umask", "027", "--chdir", "deep", "-e", "A=b=c"
    ).ready()
    assert server.get("/umask") == "0o27"
    assert server.get("/cwd") == str(tmp_path / "deep")
    assert server.get("/env/A") == "b=c"


def test_a_link_to_the_release_is_followed_at_each_reload(tune, tmp_path):
    """As deployments do it: ``current`` points to the release, and HUP is all it takes."""
    source = (tmp_path / "app.py").read_text()
    for number in "12":
        (tmp_path / number).mkdir()
        (tmp_path / number / "app.py").write_text(source.replace("hello", f"release {number}"))
    current = tmp_path / "current"
    current.symlink_to("1")
    server = tune("app", "-w1", "-b", "127.0.0.1:0", "--chdir", str(current)).ready()
    assert server.get() == "release 1"
    current.unlink()
    current.symlink_to("2")
    server.signal(signal.SIGHUP)
    server.wait_for(lambda: server.get() == "release 2")
    assert server.get("/cwd") == str(tmp_path / "2")


def test_a_missing_directory_is_wrong_usage(tune):
    server = tune("app", "--chdir", "absent")
    assert server.end() == 2
    assert "absent: No such file or directory" in server.log()


def test_the_list_of_processes_shows_names_only(tune):
    server = tune("app", "-w1", "-b", "127.0.0.1:0").ready()
    shown = subprocess.run(
        ["ps", "-o", "args=", "-p", str(server.workers()[0])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if shown.returncode == 0:
        assert shown.stdout.strip() == "pretune: worker [app]"
