"""The progress of a run, as those who make it tell it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is told what is being done now; ``reports.progress`` shows it."""

    def phase(self, name: str, detail: str = "", expected_s: float = 0.0) -> None: ...

    def update(self, detail: str) -> None: ...

    def line(self, text: str) -> None: ...
