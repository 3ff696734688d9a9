"""A picture for an author who has none: five by five squares from a stretched hash of the name.

The stretching is there so that a name cannot be found from its picture by trying; the processor
spends it outside the interpreter's lock.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

ROUNDS = 12_000
CELLS, SCALE = 5, 16


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def draw(name: str, salt: bytes = b"board") -> bytes:
    """A grey-scale PNG, left and right alike."""
    key = hashlib.pbkdf2_hmac("sha256", name.encode(), salt, ROUNDS)
    side = CELLS * SCALE
    rows = []
    for y in range(CELLS):
        half = [255 if key[3 * y + x] & 1 else 64 for x in range(3)]
        row = bytes(v for v in (*half, half[1], half[0]) for _ in range(SCALE))
        rows += [b"\0" + row] * SCALE
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(b"".join(rows))),
            _chunk(b"IEND", b""),
        )
    )
