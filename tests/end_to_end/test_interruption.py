"""However and whenever a run ends, nothing of it is left."""

import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from support.runs import ROOT, Sandbox

PHASES = ("setup", "preflight", "demand", "contrast", "preload", "model", "verification")
Until = Callable[["subprocess.Popen[str]", str], str]


@pytest.mark.parametrize("phase", PHASES)
def test_sigkill_in_any_phase_leaves_nothing(sandbox: Sandbox, until: Until, phase: str) -> None:
    run = sandbox.start("tiny", "--ram", "1G", "--time-budget", "20s")
    until(run, phase)
    time.sleep(0.3)
    run.kill()
    run.wait()
    assert sandbox.empties() == []
    assert (sandbox.directory / "torn-down").exists() or phase == "setup"


@pytest.mark.parametrize("phase", ["setup", "preflight", "contrast", "verification"])
def test_ctrl_c_in_any_phase_cleans_up_and_says_130(
    sandbox: Sandbox, until: Until, phase: str
) -> None:
    run = sandbox.start("tiny", "--ram", "1G", "--time-budget", "20s")
    until(run, phase)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 130, output
    assert "Traceback" not in output
    # at once: cleaning up is part of the command, not something that follows it
    assert sandbox.survivors() == []


def test_sigterm_cleans_up_as_ctrl_c_does(sandbox: Sandbox, until: Until) -> None:
    run = sandbox.start("tiny", "--ram", "1G", "--time-budget", "20s")
    until(run, "demand")
    run.terminate()
    run.communicate(timeout=200)
    assert run.returncode == 130
    assert sandbox.survivors() == []


def test_sigkill_under_load_ends_the_shop_s_postgres_too(sandbox: Sandbox, until: Until) -> None:
    run = sandbox.start("examples.shop.wsgi", "--ram", "4G", "--time-budget", "20s", cwd=ROOT)
    until(run, "contrast")
    run.kill()
    run.wait()
    assert sandbox.empties() == []
