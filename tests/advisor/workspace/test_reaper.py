import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pretune.advisor.resources.trial_cgroup import TrialCgroup
from pretune.advisor.workspace.reaper import MARK, SERVICE, Minder, MinderGone, session_members

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
FORKS = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {STUBBORN!r}])
time.sleep(600)
"""
# a tune that registers what it starts and is then killed
TUNE = """
import subprocess, sys, time
from pathlib import Path

import pytest
from pretune.advisor.workspace.reaper import Minder
minder = Minder("0123456789abcdef")
directory = Path(sys.argv[1])
minder.directory(directory)
directory.mkdir()
child = subprocess.Popen([sys.executable, "-c", sys.argv[2]], start_new_session=True)
minder.session(child.pid)
minder.teardown([sys.executable, "-c", f"open({sys.argv[3]!r}, 'w').write('done')"], Path("/"),
                {}, Path("/dev/null"))
print(child.pid, flush=True)
time.sleep(600)
"""


def spawn(code: str, **env: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, env={**os.environ, **env}
    )


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_a_whole_session_ends_with_the_run() -> None:
    minder = Minder("run")
    leader = spawn(FORKS)
    minder.session(leader.pid)
    assert eventually(lambda: len(session_members(leader.pid)) == 2)
    minder.close()
    assert session_members(leader.pid) == []
    assert leader.wait(5) == -signal.SIGKILL


def test_a_process_that_left_its_session_is_known_by_its_mark() -> None:
    minder = Minder("marked-run")
    runaway = spawn(STUBBORN, **{MARK: "marked-run"})
    stranger = spawn(STUBBORN, **{MARK: "another-run"})
    try:
        # the mark is visible once exec has happened
        environ = Path(f"/proc/{runaway.pid}/environ")
        assert eventually(lambda: b"marked-run" in environ.read_bytes())
        minder.close()
        assert runaway.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_forgotten_session_is_left_alone() -> None:
    minder = Minder("run")
    process = spawn(STUBBORN)
    try:
        minder.session(process.pid)
        minder.forget_session(process.pid)
        minder.close()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_teardown_runs_while_services_live_and_before_directories_go(tmp_path: Path) -> None:
    minder = Minder("run")
    service = spawn(STUBBORN)
    directory = tmp_path / "run"
    directory.mkdir()
    minder.directory(directory)
    minder.session(service.pid, SERVICE)
    seen = tmp_path / "seen"
    code = (
        f"import os; os.kill({service.pid}, 0); "
        f"open({str(seen)!r}, 'w').write(str(os.path.isdir({str(directory)!r})))"
    )
    minder.teardown([sys.executable, "-c", code], tmp_path, {}, tmp_path / "log")
    assert minder.close()["teardown"] == 0
    assert seen.read_text() == "True"
    assert not directory.exists()
    assert service.wait(5) == -signal.SIGKILL


def test_a_teardown_that_fails_is_reported(tmp_path: Path) -> None:
    minder = Minder("run")
    minder.teardown([sys.executable, "-c", "raise SystemExit(7)"], tmp_path, {}, tmp_path / "log")
    assert minder.close()["teardown"] == 7


def test_sigkill_of_tune_leaves_nothing(tmp_path: Path) -> None:
    directory, done = tmp_path / "run", tmp_path / "done"
    tune = subprocess.Popen(
        [sys.executable, "-c", TUNE, str(directory), FORKS, str(done)], stdout=subprocess.PIPE
    )
    assert tune.stdout
    leader = int(tune.stdout.readline())
    tune.kill()
    tune.wait()
    tune.stdout.close()
    assert eventually(lambda: not directory.exists())
    assert done.read_text() == "done"
    assert session_members(leader) == []


def test_an_interrupt_of_the_terminal_does_not_reach_the_minder() -> None:
    minder = Minder("run")
    pid = minder._process.pid
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert os.getsid(pid) == pid
    assert minder.close() == {"teardown": None, "killed": []}


def test_the_sessions_of_the_system_have_no_members_of_ours() -> None:
    assert session_members(0) == session_members(1) == session_members(-1) == []


def test_a_teardown_that_cannot_run_is_reported(tmp_path: Path) -> None:
    minder = Minder("run")
    minder.teardown(["/nowhere/command"], tmp_path, {}, tmp_path / "log")
    assert minder.close()["teardown"] == 127


def test_what_hides_from_session_and_environment_is_found_in_the_control_group() -> None:
    group = TrialCgroup.create("pretune-test-minder", 1.0)
    if group is None:
        pytest.skip("no control group can be made here")
    minder = Minder("run")
    for path in group.paths():
        minder.cgroup(path)
    hidden = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True, env={}
    )
    group.add(hidden.pid)
    minder.close()
    assert hidden.wait(5) == -signal.SIGKILL
    assert not any(path.exists() for path in group.paths())


def test_when_the_minder_itself_is_killed_tune_cleans_up(tmp_path: Path) -> None:
    minder = Minder("run")
    process = spawn(STUBBORN)
    directory = tmp_path / "run"
    directory.mkdir()
    minder.directory(directory)
    minder.session(process.pid)
    os.kill(minder._process.pid, signal.SIGKILL)
    minder._process.wait()
    with pytest.raises(MinderGone):
        minder.forget_session(99999999)
    minder.close()
    assert process.wait(5) == -signal.SIGKILL
    assert not directory.exists()
