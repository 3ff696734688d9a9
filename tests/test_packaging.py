"""What is distributed: whole, and enough for an empty environment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("advisor", "server", "loadtests", "reports")
DOCUMENTS = ROOT / "tests" / "reports" / "documents"

pytestmark = [pytest.mark.slow, pytest.mark.process]


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the source distribution, and the wheel that was built from it."""
    source = tmp_path_factory.mktemp("source")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", dist, source, cwd=source)
    return dist


def test_source_and_wheel_hold_every_file_of_the_rooms(built: Path) -> None:
    expected = {
        file.relative_to(ROOT).as_posix()
        for room in ROOMS
        for file in (ROOT / room).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = {name.removeprefix("pretune/") for name in opened.namelist()}
    assert {name for name in names if ".dist-info/" not in name} == expected
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert expected - held == set()


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel and what it needs, nothing else."""
    place = tmp_path_factory.mktemp("empty")
    run(sys.executable, "-m", "venv", place / "venv", cwd=place)
    (wheel,) = built.glob("*.whl")
    pip = [place / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet"]
    run(*pip, "--constraint", ROOT / "constraints.txt", wheel, cwd=place)
    return place / "venv" / "bin"


def test_the_command_says_what_it_is_for(installed: Path, tmp_path: Path) -> None:
    assert "TARGET" in run(installed / "tune", "--help", cwd=tmp_path)


@pytest.mark.parametrize("verdict", ["fits", "does_not_fit", "app_failed"])
def test_a_stored_report_is_shown_and_rendered(
    installed: Path, tmp_path: Path, verdict: str
) -> None:
    shutil.copy(DOCUMENTS / f"{verdict}.json", tmp_path / "report.json")
    document = json.loads((tmp_path / "report.json").read_text())
    shown = run(installed / "tune", "report", tmp_path, cwd=tmp_path)
    assert shown.startswith(verdict.replace("_", " "))
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert document["target"]["spec"] in page


def test_the_server_starts_without_anything_else(installed: Path, tmp_path: Path) -> None:
    script = (
        "import sys, pretune.server.bootstrap as b; print(b.__file__); "
        "assert not {'numpy', 'click', 'psutil'} & set(sys.modules)"
    )
    assert "site-packages" in run(installed / "python", "-c", script, cwd=tmp_path)
