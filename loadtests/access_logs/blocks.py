"""Whole lines of log files, plain or gz, in blocks that stay in the processor's cache."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

BLOCK = 1 << 17
LONGEST = 1 << 16  # bytes of a line; what is longer is passed over
_GZIP = b"\x1f\x8b"


class Unreadable(ValueError):
    """A file that cannot be read to its end. The message names it and says what to do."""


def read_blocks(path: Path) -> Iterator[bytes]:
    """Blocks of whole lines, the last line with or without its end.

    A line of more than LONGEST bytes is left out; where one was, the block is followed by b"".
    Raises Unreadable, of a gz file that is cut off after what could be read.
    """
    rest, skipping = b"", False
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == _GZIP
            plain.seek(0)
            file = gzip.GzipFile(fileobj=plain) if packed else plain
            while block := file.read(BLOCK):
                if skipping:
                    _, end, block = block.partition(b"\n")
                    if not end:
                        continue
                    skipping = False
                block = rest + block
                whole = block.rfind(b"\n") + 1
                rest = block[whole:]
                if whole:
                    yield block[:whole]
                if len(rest) > LONGEST:
                    rest, skipping = b"", True
                    yield b""
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Unreadable(
            f"{path} is a damaged or cut off gz file ({error}): copy it again, or unpack what can "
            "be with zcat"
        ) from None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}") from None
    if rest:
        yield rest
