"""A child that answers once over a pipe, whoever else holds the pipe."""

import contextlib
import os
import subprocess
import sys

import pytest

from pretune.advisor.workspace.interpreter import read_within

LEAVES_A_CHILD = """
import os, sys, time
if os.fork() == 0:
    time.sleep(60)
    os._exit(0)
os.write(int(sys.argv[1]), b"x" * 100_000)
"""


def ask(text: str, seconds: float) -> str | None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as answer:
        process = subprocess.Popen(
            [sys.executable, "-c", text, str(write)], pass_fds=(write,), start_new_session=True
        )
        os.close(write)
        try:
            return read_within(process, answer, seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


def test_an_answer_is_read_though_a_process_that_was_left_behind_holds_the_pipe() -> None:
    assert ask(LEAVES_A_CHILD, 30.0) == "x" * 100_000


HANGS = "import time; time.sleep(60)"


@pytest.mark.parametrize("text", [HANGS, f"import os; os.closerange(3, 99); {HANGS}"])
def test_a_child_that_does_not_end_is_ended(text: str) -> None:
    assert ask(text, 0.5) is None


def test_a_child_that_says_nothing_gives_nothing() -> None:
    assert ask("", 30.0) == ""
