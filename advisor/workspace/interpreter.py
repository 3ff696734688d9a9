"""A child process in the app's interpreter that answers once over a pipe, waited for in bounds."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import IO

import pretune.server

BOOTSTRAP = Path(pretune.server.__file__).with_name("bootstrap.py")


def describe_exit(code: int) -> str:
    """Words for a process's return code: ``by SIGSEGV`` or ``with exit code 9``."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


def read_within(process: subprocess.Popen[bytes], answer: IO[bytes], seconds: float) -> str | None:
    """Reads what the child wrote before it ended; ends it and returns None after ``seconds``."""
    chunks: list[bytes] = []
    reader = threading.Thread(target=lambda: chunks.append(answer.read()), daemon=True)
    reader.start()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None
    reader.join(2.0)  # a grandchild that inherited the pipe must not hold us
    return b"".join(chunks).decode(errors="replace")
