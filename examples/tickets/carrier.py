"""Asking the carrier where a parcel is, without holding a thread while it thinks."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 5.0


class CarrierError(Exception):
    """The carrier did not answer, or not with what it should."""


async def get(base: str, path: str) -> dict[str, Any]:
    """The JSON object behind `path` of the service at `base`."""
    url = urlsplit(base)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(url.hostname, url.port or 80)
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\n"
                    "Connection: close\r\n\r\n".encode("ascii")
                )
                answer = await reader.read()
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.split(b" ", 2)[1] != b"200":
            raise CarrierError(head.splitlines()[0].decode("ascii", "replace"))
        found: dict[str, Any] = json.loads(body)
        return found
    except (OSError, TimeoutError, ValueError, IndexError) as error:
        raise CarrierError(str(error)) from error
