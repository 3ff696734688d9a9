"""The master's wait: of the signals that come, none may get lost."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

# In a process of its own: the handlers of this one are pytest's.
HEAD = """\
import os, signal, sys
from pretune.server.master.loop import Loop

number = getattr(signal, sys.argv[1])
loop = Loop()
loop.catch([number, signal.SIGTERM])

def kill(*numbers):
    for each in numbers:
        os.kill(os.getpid(), each)

"""


def said(name: str, script: str) -> str:
    command = [sys.executable, "-c", HEAD + textwrap.dedent(script), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


ONCE = ("SIGCHLD", "SIGHUP", "SIGUSR1")


@pytest.mark.parametrize("name", ONCE)
def test_the_same_again_and_again_counts_once(name):
    script = """
        kill(number, number, signal.SIGTERM, number)
        print(list(loop.signals()) == [number, signal.SIGTERM, number])
    """
    assert said(name, script) == "True"


@pytest.mark.parametrize("name", [*ONCE, "SIGTTIN"])
def test_one_that_comes_while_the_same_is_answered_is_answered_too(name):
    """A second child's end, between the last look for ended children and the end of that answer:
    who swallows it waits for that child until another ends."""
    script = """
        answers = 0
        kill(number)
        for _ in loop.signals():
            answers += 1
            if answers == 1:
                kill(number)
        print(answers)
    """
    assert said(name, script) == "2"
