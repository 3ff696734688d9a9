"""nginx in front of the server, from the flag to the file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.runs import APP, Sandbox

from pretune.reports import document as documents
from pretune.server.adapters import nginx, nginx_conf

NGINX = nginx.find()
Until = Callable[["subprocess.Popen[str]", str], str]


def nginxes(below: Path) -> list[int]:
    """Processes that work in a directory of ours: their titles and environments are their own."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd").startswith(str(below)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(NGINX is None, reason=f"nginx: {nginx_conf.INSTALL}")
def test_the_answer_is_verified_through_nginx_and_its_file_is_among_the_files(
    sandbox: Sandbox,
) -> None:
    assert NGINX is not None
    (sandbox.directory / "tiny.py").write_text(APP)
    (sandbox.directory / "files").mkdir()
    (sandbox.directory / "files" / "a.css").write_text("body {}")
    code, output = sandbox.run(
        "tiny", "--path", "/", "--front", "nginx", "--static", "/files/=files",
        "--ram", "1G", "--time-budget", "60s",
    )  # fmt: skip
    assert code in (0, 1, 3), output
    assert sandbox.empties() == []
    assert nginxes(sandbox.temporary) == []
    document = documents.read(sandbox.out / "report.json")
    verified = document["verification"]
    assert verified["conditions"]["front"] == "nginx"
    assert verified["measured"]["requests"] > 0
    assert verified["measured"]["error_rate"] == 0
    assert verified["measured"]["front"]["cpu_s_per_request"]["value"] > 0
    direct = [t for t in document["trials"] if t["name"] in ("demand", "contrast")]
    assert [t["conditions"]["front"] for t in direct] == ["", ""]
    cost = document["front"]["cost"]
    assert 0 < cost["cpu_s"]["value"] < 0.002
    assert document["demand"]["front_cpu_s"] == cost["cpu_s"]
    assert 1 << 20 < cost["pss_bytes"]["value"] < 64 << 20
    asked = {row["question"] for row in document["front"]["checks"]["rows"]}
    assert asked >= {"static", "slow_upload", "slow_download", "large_upload"}
    file = sandbox.out / "nginx.conf"
    assert nginx.check(NGINX, file) == ""
    assert f'alias "{sandbox.directory}/files/"' in file.read_text()
    assert "nginx" in output


@pytest.mark.skipif(NGINX is None, reason=f"nginx: {nginx_conf.INSTALL}")
@pytest.mark.parametrize("phase", ["front", "checks"])
def test_sigkill_leaves_no_nginx(sandbox: Sandbox, until: Until, phase: str) -> None:
    run = sandbox.start("tiny", "--front", "nginx", "--ram", "1G", "--time-budget", "60s")
    until(run, phase)
    deadline = time.monotonic() + 120
    while not nginxes(sandbox.temporary):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.kill()
    run.wait()
    assert sandbox.empties() == []
    assert nginxes(sandbox.temporary) == []


@pytest.mark.skipif(NGINX is None, reason=f"nginx: {nginx_conf.INSTALL}")
def test_ctrl_c_ends_nginx_too(sandbox: Sandbox, until: Until) -> None:
    run = sandbox.start("tiny", "--front", "nginx", "--ram", "1G", "--time-budget", "60s")
    until(run, "checks")
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 130, output
    assert sandbox.survivors() == []
    assert nginxes(sandbox.temporary) == []


def test_files_that_nobody_serves_are_refused(sandbox: Sandbox) -> None:
    (sandbox.directory / "tiny.py").write_text(APP)
    (sandbox.directory / "files").mkdir()
    code, output = sandbox.run("tiny", "--static", "/files/=files")
    assert (code, "--front nginx" in output) == (2, True), output
    code, output = sandbox.run("tiny", "--front", "apache")
    assert (code, "there is nginx" in output) == (2, True), output
    code, output = sandbox.run("tiny", "--front", "nginx", "--static", "files")
    assert (code, "URL=DIR" in output) == (2, True), output
