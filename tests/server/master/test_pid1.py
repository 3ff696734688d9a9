"""As the first process of a container: a real PID namespace."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

APP = """\
import os, subprocess

def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/orphan":
        # The shell ends at once; its child is left to process 1.
        subprocess.run(["sh", "-c", "sleep 0.2 & echo $! > orphan"])
    names = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with open(f"/proc/{entry}/stat") as file:
                names.append(file.read().rsplit(")", 1)[1].split()[0])
    return [f"{os.getppid()} {''.join(names)}".encode()]
"""


def _permitted() -> str | None:
    if shutil.which("unshare") is None:
        return "there is no unshare"
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"unshare: {done.stderr.strip()}"


REASON = _permitted()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_orphans_are_reaped_and_signals_work(start, tmp_path: Path, number):
    (tmp_path / "app.py").write_text(APP)
    one = start("-w", "1", prefix=UNSHARE)
    master = _child(one.process.pid)
    parent, _ = one.text("/orphan").split()
    assert parent == "1"
    orphan = (tmp_path / "orphan").read_text().strip()
    status = Path(f"/proc/{master}/root/proc/{orphan}")  # the namespace's own view
    one.wait_for(lambda: not status.exists())
    assert "Z" not in one.text().split()[1]
    os.kill(master, number)
    one.process.wait(30)
    assert "stopped" in one.log()


def test_no_upgrade_where_it_would_end_the_container(start, tmp_path: Path):
    (tmp_path / "app.py").write_text(APP)
    one = start(prefix=UNSHARE)
    master = _child(one.process.pid)
    os.kill(master, signal.SIGUSR2)
    one.wait_log("no upgrade: this is process 1")
    assert one.text().split()[0] == "1"
    os.kill(master, signal.SIGTERM)
    one.process.wait(30)


def _child(pid: int) -> int:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = re.findall(r"\d+", text)
    assert len(found) == 1
    assert int(found[0]) > 1
    return int(found[0])
