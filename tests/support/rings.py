"""What the telemetry rings of a directory hold."""

from __future__ import annotations

from pathlib import Path

from pretune.server import telemetry
from pretune.server.telemetry import CAPACITY, HEADER, HEADER_SIZE, MAGIC, RECORD

NAMES = [name for name, _, _ in telemetry.FIELDS]


def records(directory: Path) -> list[dict]:
    found = []
    for path in directory.glob("*.ring"):
        data = path.read_bytes()
        magic, capacity, size, pid = HEADER.unpack_from(data)
        assert (magic, capacity, size, f"{pid}.ring") == (
            MAGIC, CAPACITY, RECORD.size, path.name,
        )  # fmt: skip
        assert len(data) == HEADER_SIZE + capacity * size
        for slot in range(capacity):
            values = RECORD.unpack_from(data, HEADER_SIZE + slot * size)
            record = dict(zip(NAMES, values, strict=True))
            if record["seq"]:
                assert (record["seq"] - 1) % capacity == slot
                found.append({**record, "pid": pid})
    return sorted(found, key=lambda r: (r["pid"], r["seq"]))
