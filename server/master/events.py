"""The event stream: what happens to the server, as JSON lines on a descriptor it was given."""

from __future__ import annotations

import json
import os

from pretune.server.clock import Clock


class Events:
    """Writes events; a reader that went away ends the stream and nothing else."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None:
            os.set_inheritable(fd, False)

    def emit(self, event: str, **data: object) -> None:
        if self._fd is None:
            return
        line = json.dumps({"event": event, "time": Clock.monotonic(), **data}) + "\n"
        view = line.encode()
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            self._fd = None

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
