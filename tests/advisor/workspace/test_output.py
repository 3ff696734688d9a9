"""What becomes of an older run's files."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pretune.advisor.workspace import output


def claim(out: Path) -> None:
    """What a run does that ends at once."""
    os.close(output.claim(out))


def run_into(out: Path, verdict: str) -> None:
    claim(out)
    output.set_aside(out)
    (out / "report.json").write_text(json.dumps({"verdict": verdict}))
    (out / "logs" / "demand.log").write_text(verdict)


def verdict_in(directory: Path) -> str:
    return str(json.loads((directory / "report.json").read_text())["verdict"])


@pytest.mark.parametrize("verdict", sorted(output.ANSWERED))
def test_an_older_answer_stands_aside_with_its_logs(tmp_path: Path, verdict: str) -> None:
    run_into(tmp_path, verdict)
    output.set_aside(tmp_path)
    assert verdict_in(tmp_path / "previous") == verdict
    assert (tmp_path / "previous" / "logs" / "demand.log").read_text() == verdict
    assert not (tmp_path / "report.json").exists()
    assert list((tmp_path / "logs").iterdir()) == []


def test_failures_do_not_push_the_last_answer_out(tmp_path: Path) -> None:
    for verdict in ("fits", "app_failed", "app_failed", "measurement_invalid"):
        run_into(tmp_path, verdict)
    assert verdict_in(tmp_path / "previous") == "fits"


def test_only_the_last_answer_is_kept(tmp_path: Path) -> None:
    for verdict in ("fits", "does_not_fit", "fits"):
        run_into(tmp_path, verdict)
    assert verdict_in(tmp_path / "previous") == "does_not_fit"


def test_files_of_others_stay_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    run_into(tmp_path, "fits")
    output.set_aside(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["gunicorn.conf.py", "nginx.conf", "logs/app.log"])
def test_a_project_s_own_files_are_not_taken_for_an_older_run_s(tmp_path: Path, name: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / name).write_text("mine")
    with pytest.raises(output.OutputError, match=name.partition("/")[0]):
        claim(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_run_that_was_interrupted_does_not_bar_the_next(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "logs" / "demand.log").write_text("half")
    run_into(tmp_path, "fits")


def test_a_report_of_before_there_was_a_mark_is_ours(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({"verdict": "fits"}))
    (tmp_path / "gunicorn.conf.py").write_text("")
    claim(tmp_path)


def test_a_report_that_is_none_is_no_answer(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "report.json").write_text("[")
    output.set_aside(tmp_path)
    assert not (tmp_path / "previous").exists()


def test_a_file_in_the_way_is_said_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "capacity").write_text("")
    with pytest.raises(output.OutputError, match="--out"):
        claim(tmp_path / "capacity")


def test_two_runs_do_not_write_into_one_directory(tmp_path: Path) -> None:
    held = output.claim(tmp_path)
    try:
        with pytest.raises(output.OutputError, match=rf"process {os.getpid()}.*--out"):
            output.claim(tmp_path)
    finally:
        os.close(held)
    claim(tmp_path)


def test_a_run_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from pretune.advisor.workspace import output

output.claim(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    claim(tmp_path)


def test_the_mark_is_not_followed_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    out = tmp_path / "capacity"
    out.mkdir()
    (out / output.OURS).symlink_to(tmp_path / "mine")
    with pytest.raises(output.OutputError, match="--out"):
        output.claim(out)
    assert (tmp_path / "mine").read_text() == "mine"
