"""A time in which nobody acts, so that what a server still holds is nobody's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 40.0  # s for everybody to finish


class Truce:
    """``peace`` is set as long as it lasts."""

    def __init__(self) -> None:
        self.peace = threading.Event()
        self._busy = 0
        self._lock = threading.Lock()

    @contextmanager
    def acting(self) -> Iterator[bool]:
        """False during a truce; else it is waited for until the end of the block."""
        with self._lock:
            may = not self.peace.is_set()
            self._busy += may
        try:
            yield may
        finally:
            with self._lock:
                self._busy -= may

    def begin(self) -> None:
        """Return when all have finished. Raises TimeoutError."""
        with self._lock:
            self.peace.set()
        deadline = time.monotonic() + PATIENCE
        while self._busy:
            if time.monotonic() > deadline:
                raise TimeoutError("a client does not end")
            time.sleep(0.05)

    def end(self) -> None:
        self.peace.clear()
