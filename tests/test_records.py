"""What a run of the suite leaves behind: skipped tests with their reason, flaky ones by name."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from support.fast import FAST, SLOW, is_fast

SUPPORT = Path(__file__).parent / "support"
CONFTEST = """
from pathlib import Path
from support.records import Records

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        second = config.cache.get("second", False)
        config.pluginmanager.register(Records(Path("build"), second_try=second))
        config.cache.set("second", True)
"""
TESTS = """
import os, pytest

def test_passes(): pass

@pytest.mark.parametrize("number", range(3))
def test_needs_a_program(number): pytest.skip("nginx: apt-get install nginx")

def test_passes_when_asked_again():
    if not os.path.exists("asked"):
        open("asked", "w").close()
        assert False

def test_fails_always(): assert False

@pytest.mark.xfail
def test_is_known_to_fail(): assert False
"""


@pytest.mark.process
@pytest.mark.parametrize("processes", [(), ("-n", "1")])
def test_a_run_and_its_second_try_are_recorded(tmp_path: Path, processes: tuple[str, ...]) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def run(*options: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(SUPPORT.parent)},
            stdout=subprocess.DEVNULL,
            check=False,
        ).returncode

    assert run(*processes) == 1
    untested = tmp_path / "build" / "untested.txt"
    assert untested.read_text() == "3 tests: nginx: apt-get install nginx\n"
    assert not (tmp_path / "build" / "flaky.txt").exists()
    assert run("--last-failed") == 1
    flaky = "test_it.py::test_passes_when_asked_again\n"
    assert (tmp_path / "build" / "flaky.txt").read_text() == flaky
    assert untested.read_text() == "3 tests: nginx: apt-get install nginx\n"


def test_every_module_that_is_called_slow_or_fast_is_there() -> None:
    tests = SUPPORT.parent
    named = {*FAST, *SLOW}
    assert {each for each in named if not (tests / each).exists()} == set()
    assert {each for each in SLOW if is_fast(each)} == set()
    assert is_fast("advisor/demand/test_estimate.py")
    assert not is_fast("server/test_serving.py")
    assert not is_fast("advisor/demand/test_gil_known_truth.py")


def test_the_summary_lists_what_was_not_tested_and_what_is_flaky(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = SUPPORT.parents[1] / ".ci" / "summary.py"
    summary = runpy.run_path(str(script))
    main = summary["main"]
    monkeypatch.setitem(main.__globals__, "BUILD", tmp_path)
    assert main(strict=True) == 0
    assert capsys.readouterr().out == ""
    (tmp_path / "untested.txt").write_text("3 tests: nginx: apt-get install nginx\n")
    (tmp_path / "flaky.txt").write_text("a::b\na::b\nc::d\ne::f\n")
    assert main(strict=True) == 0
    shown = capsys.readouterr().out
    assert "3 tests: nginx: apt-get install nginx" in shown
    assert "2 x a::b" in shown
    with (tmp_path / "flaky.txt").open("a") as file:
        file.write("g::h\n")
    assert main(strict=False) == 0
    assert main(strict=True) == 1
    assert "4 flaky tests: more than 3" in capsys.readouterr().out
