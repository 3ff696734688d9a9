"""A log is held below a size, and its end can be read."""

import time
from pathlib import Path

from pretune.advisor.workspace.logs import LogBound, log_tail


def test_a_log_that_grows_too_large_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    log = tmp_path / "demand.log"
    with log.open("ab", buffering=0) as writer:
        bound = LogBound(tmp_path, largest=100_000, kept=1000)
        writer.write(b"began\n" + b"x" * 200_000)
        bound.cut_back()
        writer.write(b"ended\n")
        bound.close()
    text = log.read_text()
    assert len(text) < 2000
    assert text.startswith("began\n")
    assert "was cut" in text
    assert text.endswith("ended\n")


def test_the_thread_looks_by_itself(tmp_path: Path) -> None:
    bound = LogBound(tmp_path, largest=1000, kept=10)
    (tmp_path / "contrast.log").write_bytes(b"x" * 5000)
    deadline = time.monotonic() + 20
    while (tmp_path / "contrast.log").stat().st_size > 1000:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    bound.close()


def test_a_log_within_its_size_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "small.log").write_text("all of it")
    (tmp_path / "other.bin").write_bytes(b"x" * 5000)
    LogBound(tmp_path, largest=1000).close()
    assert (tmp_path / "small.log").read_text() == "all of it"
    assert (tmp_path / "other.bin").stat().st_size == 5000


def test_the_tail_of_a_large_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "large.log"
    log.write_text("\n".join(f"line {n}" for n in range(100_000)))
    assert log_tail(log, 2) == "line 99998\nline 99999"
    assert log_tail(tmp_path / "none.log") == ""
