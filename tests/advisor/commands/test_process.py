"""The process of ``tune``: no interrupt and no defect looks like a verdict."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TUNE = [sys.executable, "-m", "pretune.advisor"]

# Stands in for a module that the command needs, and says when it is being imported.
SLOW = """
import os, time
os.write(1, b"importing")
time.sleep(60)
"""


@pytest.mark.parametrize("module", ["rich_click", "rich"])
def test_ctrl_c_while_modules_are_imported_is_no_verdict(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(SLOW)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.Popen(
        [*TUNE, "nowhere:app"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert run.stdout.read(9) == "importing"
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in errors


def test_a_defect_is_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "rich_click.py").write_text("raise RuntimeError('broken installation')")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([*TUNE, "x"], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 70
    assert "broken installation" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("depth", [100_000])
def test_a_pyproject_nested_without_end_is_wrong_usage(tmp_path: Path, depth: int) -> None:
    (tmp_path / "pyproject.toml").write_text("x = " + "[" * depth + "]" * depth)
    (tmp_path / "app.py").write_text("def app(environ, start_response): ...")
    run = subprocess.run(
        [*TUNE, "app:app"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run.stderr
    assert "pyproject.toml: nested too deeply" in run.stdout + run.stderr


def test_a_report_nested_without_end_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("[" * 100_000 + "]" * 100_000)
    run = subprocess.run(
        [*TUNE, "report", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run.stderr
    assert "report.json" in run.stderr


@pytest.mark.parametrize("target", ["", "app:", ":app", "app:app:app", " ", "app.:x", "a b:app"])
def test_what_is_no_target_is_wrong_usage(tmp_path: Path, target: str) -> None:
    run = subprocess.run(
        [*TUNE, "advise", target], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run.stdout + run.stderr
    assert not (tmp_path / "capacity").exists()


def test_a_second_ctrl_c_ends_the_process_at_once(tmp_path: Path) -> None:
    code = """
import os, signal, time
from pretune.advisor.commands.interruption import Interruption

Interruption().install()
try:
    os.write(1, b"ready")
    time.sleep(60)
except KeyboardInterrupt:
    os.write(1, b"first")
    time.sleep(60)
"""
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    for said in ("ready", "first"):
        assert run.stdout.read(5) == said
        run.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = run.communicate(timeout=50)
    assert time.monotonic() - began < 40  # not when the clean-up ends
    assert run.returncode == 130
    assert "background" in errors
    assert "Traceback" not in errors


def test_an_interrupt_within_an_exec_ends_with_the_exit_code(tmp_path: Path) -> None:
    """CPython counts it as unhandled, whoever handles it, and dies by SIGINT at its end."""
    (tmp_path / "rich_click.py").write_text(
        "import os, signal\n"
        "from pretune.advisor.commands.interruption import Interruption\n"
        "Interruption().install()\n"
        "try:\n"
        "    exec('os.kill(os.getpid(), signal.SIGINT)\\nfor _ in range(10**7): pass')\n"
        "except KeyboardInterrupt:\n"
        "    raise SystemExit(130)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([*TUNE, "x"], env=env, capture_output=True, check=False)
    assert run.returncode == 130
