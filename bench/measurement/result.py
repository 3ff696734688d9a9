"""What a part of the benchmark says: tables of figures, aims with whether they are met, notes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """The first column names the row; cells are text as it is to be read."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True)
class Aim:
    """``what`` was to be ``aim`` ("at least 90%") and is ``measured`` ("93% of 412")."""

    what: str
    aim: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Result:
    """Of one part. ``data``: numbers for machines, JSON types only; not shown."""

    title: str
    tables: tuple[Table, ...] = ()
    aims: tuple[Aim, ...] = ()
    notes: tuple[str, ...] = ()
    data: Any = None

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Result:
        tables = (
            Table(tuple(t["head"]), tuple(tuple(row) for row in t["rows"]), t["title"])
            for t in found["tables"]
        )
        aims = (Aim(**aim) for aim in found["aims"])
        return cls(found["title"], tuple(tables), tuple(aims), tuple(found["notes"]), found["data"])
