"""The process of ``tune`` from its first line to its last.

A build reads the exit code: an interrupt that comes while modules are still imported, or a defect
of pretune, must never look like a verdict. So nothing is imported before both are
provided for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

from pretune.advisor.verdict import EXIT_DEFECT, EXIT_INTERRUPTED, EXIT_PIPE_CLOSED


def main() -> None:
    """Run the command line; always raises SystemExit."""
    if interruptible := signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)  # until a command has something to end
    try:
        from pretune.advisor import cli

        cli.main()
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:
            _exit_interrupted()
        raise
    except BrokenPipeError:
        sys.exit(EXIT_PIPE_CLOSED)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        print(
            f"tune: this should not happen: {type(error).__name__}: {text}\n"
            "It is a defect of pretune, not a verdict; please report it with the command you ran.",
            file=sys.stderr,
        )
        sys.exit(EXIT_DEFECT)
    finally:
        if interruptible:  # all is done: what would be interrupted is the interpreter's own end
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _exit_interrupted() -> NoReturn:
    """End with EXIT_INTERRUPTED for certain.

    A KeyboardInterrupt that met the interpreter in an ``exec``, as dataclasses do it while a module
    is imported, counts as unhandled for ever in CPython: at its end it would die by the signal.
    """
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(EXIT_INTERRUPTED)


def _leave(number: int, frame: object) -> None:
    raise SystemExit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
