"""A child process in the app's interpreter that answers once over a pipe, waited for in bounds."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

import pretune.server

BOOTSTRAP = Path(pretune.server.__file__).with_name("bootstrap.py")
_TICK_S = 0.02


def describe_exit(code: int) -> str:
    """Words for a process's return code: ``by SIGSEGV`` or ``with exit code 9``."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


def read_within(process: subprocess.Popen[bytes], answer: IO[bytes], seconds: float) -> str | None:
    """Read what the child wrote before it ended; end it and return None after ``seconds``.

    The pipe's end is not waited for: a process that the child left behind may hold it for ever.
    """
    deadline = time.monotonic() + seconds
    said = b""
    pipe = select.poll()
    pipe.register(answer.fileno(), select.POLLIN)
    is_open = True
    while True:
        ended = process.poll() is not None
        if time.monotonic() > deadline:
            if ended:
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
        if not is_open:
            if ended:
                break
            time.sleep(_TICK_S)
        elif pipe.poll(0 if ended else _TICK_S * 1000):
            part = os.read(answer.fileno(), 1 << 16)
            is_open = bool(part)
            said += part
        elif ended:
            break
    return said.decode(errors="replace")
