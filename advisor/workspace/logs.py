"""The logs a run leaves: each is held below a size, whatever the application prints.

A server's output goes to its log directly, through no pipe of ours that could fill or cost CPU
under load. So the size is looked at from outside, and a log that has grown too large is cut back to
its first part. The writer appends (O_APPEND), so it goes on behind the cut: what stands in the file
in the end is how the run began and how it ended.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

LARGEST: Final = 16 << 20  # bytes of one log
KEPT: Final = 1 << 20  # bytes of its beginning that stay when it is cut
TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 1 << 16
_INTERVAL_S: Final = 0.25
_MARK: Final = b"\n[pretune: this log had grown past %d MiB; what stood here was cut]\n"


class LogBound:
    """A thread that keeps every ``*.log`` in ``directory`` below ``largest`` bytes.

    Between two looks a log may grow beyond it, by what the application prints in a quarter of a
    second.
    """

    def __init__(self, directory: Path, largest: int = LARGEST, kept: int = KEPT) -> None:
        self._directory = directory
        self._largest, self._kept = largest, kept
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="log-bound", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look once more and end the thread."""
        self._ended.set()
        self._thread.join()
        self.cut_back()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            self.cut_back()

    def cut_back(self) -> None:
        """Cut every log that is too large back to its beginning, and say so in it."""
        for log in self._directory.glob("*.log"):
            with contextlib.suppress(OSError):
                if log.stat().st_size > self._largest:
                    os.truncate(log, self._kept)
                    with log.open("ab") as file:
                        file.write(_MARK % (self._largest >> 20))


def log_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last ``lines`` of a log, of at most 64 KiB; "" when there is none."""
    try:
        with log.open("rb") as file:
            start = file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            read = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    whole = read[1:] if start and len(read) > 1 else read  # the first may have been cut in two
    return "\n".join(whole[-lines:])
