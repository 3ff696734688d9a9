import subprocess
import sys
from pathlib import Path

import pytest

TUNE = Path(sys.executable).with_name("tune")


def tune(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(TUNE), *arguments], capture_output=True, text=True, cwd=cwd, timeout=60
    )


def test_help_teaches_the_main_job_without_heavy_imports() -> None:
    code = (
        "import sys; from pretune.advisor.cli import tune\n"
        "try: tune(['--help'], prog_name='tune')\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'numba', 'locust', 'altair', 'psycopg', 'jinja2', 'psutil'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "tune myapp.wsgi --ram 4G" in result.stdout
    assert "HEAVY []" in result.stdout


def test_every_command_shows_its_help() -> None:
    for command in ("advise", "gate", "report"):
        result = tune(command, "--help")
        assert result.returncode == 0, result.stderr
    assert "--ram" in tune("advise", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("app", "--ram", "4X"), "4G"),
        (("app", "--cores", "0"), "greater than zero"),
        (("nowhere.py",), "no such file"),
        (("app", "--python", "/nowhere/python"), "does not start"),
        (("app", "--chdir", "nowhere"), "no such directory"),
        (("report", "nowhere"), "report.json"),
        (("advise",), "TARGET"),
        (("app", "--colour"), "--colour"),
        (("gaet", "app"), "did you mean gate"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    result = tune(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert word in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = tune("app", "--out", "file/capacity", cwd=tmp_path)
    assert result.returncode == 2
    assert "--out" in result.stdout


def test_another_system_is_told_what_is_missing_there(tmp_path: Path) -> None:
    code = (
        "import sys; sys.platform = 'darwin'\nfrom pretune.advisor.cli import main\n"
        "sys.argv = ['tune', 'app']; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2
    assert "macOS has no /proc" in result.stderr
