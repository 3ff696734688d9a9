"""What ps shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretune.server.process import proctitle

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()


def short(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def run(code: str, *arguments: str) -> str:
    """What a process with these arguments prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "MARK": "kept"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


LOOK = (
    "import sys\n"
    "from pretune.server.process import proctitle\n"
    "said = proctitle.set_title({!r})\n"
    "print(said, open('/proc/self/cmdline').read().rstrip(chr(0)),"
    " open('/proc/self/comm').read().strip(), sys.orig_argv[-1],"
    " 'MARK=kept' in open('/proc/self/environ').read().split(chr(0)), sep='|')\n"
)


def test_both_names_change_and_nothing_else():
    said = run(LOOK.format("pretune: worker [shop]"), "and", "arguments")
    assert said == "True|pretune: worker [shop]|pretune: worker|arguments|True\n"


def test_a_long_title_is_cut_before_the_environment_begins():
    said, shown, name, last, kept = run(LOOK.format("x" * 9000), "y").strip().split("|")
    assert said == "True"
    assert set(shown) == {"x"}
    assert (name, last, kept) == ("x" * 15, "y", "True")


def test_the_title_holds_the_targets_name():
    assert (
        proctitle.compose("master", "shop.wsgi:application")
        == "pretune: master [shop.wsgi:application]"
    )


@pytest.mark.parametrize("where", ["stat", "mem"])
def test_where_the_kernel_does_not_allow_it_the_old_title_stays(where, monkeypatch):
    before = command(os.getpid())
    real = os.open

    def refuse(path, *rest):
        raise FileNotFoundError(2, "no", path)

    if where == "stat":
        monkeypatch.setattr(proctitle, "_area", lambda: refuse("/proc/self/stat"))
    else:
        monkeypatch.setattr(
            os, "open", lambda path, *rest: refuse(path) if "/proc/" in path else real(path, *rest)
        )
    assert proctitle.set_title("pretune: something") is False
    assert command(os.getpid()) == before


@AS_ROOT
def test_a_process_that_gave_up_root_and_its_children_too():
    code = (
        "import os, ctypes\n"  # which strangers may not be able to read here
        "from pretune.server.process import proctitle\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "pid = os.fork()\n"
        "if pid: os.waitpid(pid, 0); os._exit(0)\n"
        "said = proctitle.set_title('pretune: worker [shop]')\n"
        "print(said, open('/proc/self/cmdline').read().rstrip(chr(0)),"
        " open('/proc/self/comm').read().strip(), sep='|', flush=True)\n"
        "os._exit(0)\n"
    )
    assert run(code) == "True|pretune: worker [shop]|pretune: worker\n"


def test_an_installed_setproctitle_is_used(tmp_path, monkeypatch):
    (tmp_path / "setproctitle.py").write_text(
        "import pathlib\n"
        f"def setproctitle(text): pathlib.Path({str(tmp_path / 'said')!r}).write_text(text)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "setproctitle", raising=False)
    assert proctitle.set_title("pretune: worker [shop]")
    assert (tmp_path / "said").read_text() == "pretune: worker [shop]"
    sys.modules.pop("setproctitle")


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_master_zygote_and_workers(tune, preload):
    server = tune("app", "-w2", "-b", "127.0.0.1:0", "-n", "shop", *preload).ready()
    assert command(server.pid) == "pretune: master [shop]"
    assert short(server.pid) == "pretune: master"
    for pid in server.workers():
        assert command(pid) == "pretune: worker [shop]"
    names = [
        command(int(entry.name))
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and os.getsid(int(entry.name)) == server.pid
    ]
    assert names.count("pretune: zygote [shop]") == len(preload)
    server.process.terminate()


def test_no_secret_is_shown(tune):
    secret = "postgres://ann:hunter2@db/shop"
    server = tune("app", "-w1", "-b", "127.0.0.1:0", "-e", f"DATABASE_URL={secret}").ready()
    assert server.get("/env/DATABASE_URL") == secret
    for pid in (server.pid, *server.workers()):
        assert "hunter2" not in Path(f"/proc/{pid}/cmdline").read_text()
    assert "hunter2" not in server.log()
