"""One fixed-size record per request the driver sent, in a file that can be read while it grows.

The driver (which does not import numpy) packs records with ``RECORD``; the tool reads them as a
numpy array of ``dtype()``. Records stand in the order in which requests ended. A reader may find
the last record half written; ``read`` leaves it for later.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# name, struct code, meaning
FIELDS: tuple[tuple[str, str, str], ...] = (
    ("start", "d", "CLOCK_MONOTONIC s before the request was sent (or its connection opened)"),
    ("wall", "d", "s from start until the last byte of the response was read"),
    ("bytes", "Q", "bytes of the response, head included"),
    ("endpoint", "I", "number of the endpoint in the workload, from 1"),
    ("user", "I", "number of the user that sent it, from 0"),
    ("status", "H", "status of the response; 0 when none arrived"),
    ("error", "H", "index into ERRORS; 0 is success"),
    ("late_us", "I", "us from start until the request was sent: the generator's own delay"),
)
MOST_LATE_US = 2**32 - 1
RECORD = struct.Struct("<" + "".join(code for _, code, _ in FIELDS))

# Kinds of errors; a record carries the index. Append only: saved runs refer to it.
ERRORS: tuple[str, ...] = (
    "",
    "status",  # 400 or above: the record's status says which
    "redirect",  # a 3xx answer, not followed
    "connection refused",
    "connection reset",
    "connection closed",  # by the server, before the answer was complete
    "timeout",
    "malformed response",
    "address refused",  # the user's locustfile called somewhere else
    "check failed",  # the user's locustfile judged the answer
    "other",
    "not sent",  # an open load: too many requests were waiting already
    # On a connection that had answered before, and before any byte of this answer: the server may
    # have closed it while the request was on its way, and never have read it (RFC 9112, 9.5).
    "kept connection closed",
    "kept connection reset",
)
ERROR_NUMBER = {kind: number for number, kind in enumerate(ERRORS)}


def classify_status(status: int) -> str:
    """The kind of error an answer with this status is, or ""."""
    if status >= 400:
        return "status"
    return "redirect" if 300 <= status < 400 and status != 304 else ""


class Writer:
    """Buffers records and appends them to a file; ``flush`` writes whole records only."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer: list[bytes] = []
        self.requests = 0
        self.errors: dict[str, int] = {}
        self.time_first: float | None = None
        self.time_last: float | None = None

    def add(
        self,
        start: float,
        wall: float,
        size: int,
        endpoint: int,
        user: int,
        status: int,
        kind: str,
        late_s: float = 0.0,
    ) -> None:
        """One finished request; ``kind`` is one of ERRORS, ``late_s`` within its ``wall``."""
        self.requests += 1
        if kind:
            self.errors[kind] = self.errors.get(kind, 0) + 1
        if self.time_first is None or start < self.time_first:
            self.time_first = start
        self.time_last = start + wall
        late_us = min(MOST_LATE_US, max(0, int(late_s * 1e6)))
        self._buffer.append(
            RECORD.pack(start, wall, size, endpoint, user, status, ERROR_NUMBER[kind], late_us)
        )

    def flush(self) -> None:
        if self._buffer:
            chunk, self._buffer = b"".join(self._buffer), []
            self._file.write(chunk)
            self._file.flush()


def dtype() -> np.dtype[Any]:
    """The numpy type of a record."""
    import numpy as np

    return np.dtype([(name, "<" + _NUMPY[code]) for name, code, _ in FIELDS])


_NUMPY = {"d": "f8", "Q": "u8", "I": "u4", "H": "u2"}


def read(path: Path, skip: int = 0) -> NDArray[np.void]:
    """All complete records of the file after the first ``skip``; empty when there is no file."""
    import numpy as np

    try:
        with path.open("rb") as file:
            file.seek(skip * RECORD.size)
            data = file.read()
    except FileNotFoundError:
        data = b""
    return np.frombuffer(data[: len(data) // RECORD.size * RECORD.size], dtype=dtype())
