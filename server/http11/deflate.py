"""permessage-deflate (RFC 7692): what is agreed on in the handshake, and the two streams.

A compressed message is hostile input: a kilobyte may inflate to a megabyte. Inflation is done with
a bound and stops there. Compression runs on the event loop, so it is quick rather than thorough,
and its window is small: what a connection holds (about 45 kB out, 12 kB in) is paid for by every
open socket. Both sides may be asked to forget their window after each message.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

NAME = "permessage-deflate"
WINDOW = 12  # bits; 4 kB remembered, as much as small messages profit from
MIN_WINDOW = 9  # zlib cannot write raw deflate with 8
MEMORY = 5
LEVEL = 1
SMALLEST = 64  # bytes; shorter messages hardly shrink and are sent as they are

# What ends every message and is not sent: section 7.2.1.
_TAIL = b"\x00\x00\xff\xff"
_PARAMETER = re.compile(
    r"""([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:\s*=\s*(?:"([^"\\]*)"|([^\s";,]+)))?"""
)
_BITS = re.compile(r"[89]|1[0-5]")


class TooLong(Exception):
    """More comes out than may."""


@dataclass(frozen=True)
class Agreement:
    """Parameters of section 7.1, as answered. Bits are log2 of a window's size."""

    server_forgets: bool = False
    client_forgets: bool = False
    server_bits: int = WINDOW
    client_bits: int = 15
    says_server_bits: bool = False

    def __str__(self) -> str:
        parts = [NAME]
        if self.server_forgets:
            parts.append("server_no_context_takeover")
        if self.client_forgets:
            parts.append("client_no_context_takeover")
        if self.says_server_bits:
            parts.append(f"server_max_window_bits={self.server_bits}")
        if self.client_bits < 15:
            parts.append(f"client_max_window_bits={self.client_bits}")
        return "; ".join(parts)


def agree(offers: str) -> Agreement | None:
    """The first offer in a Sec-WebSocket-Extensions that can be met; None if none can.

    A malformed offer is declined like an unknown one: section 7.1.
    """
    for offer in offers.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == NAME:
            agreement = _met(parameters)
            if agreement is not None:
                return agreement
    return None


def _met(parameters: list[str]) -> Agreement | None:
    seen: dict[str, str | None] = {}
    for parameter in parameters:
        match = _PARAMETER.fullmatch(parameter)
        if match is None or match[1] in seen:
            return None
        seen[match[1]] = match[2] if match[2] is not None else match[3]
    server_forgets = "server_no_context_takeover" in seen
    client_forgets = "client_no_context_takeover" in seen
    if seen.pop("server_no_context_takeover", None) is not None:
        return None  # it takes no value
    if seen.pop("client_no_context_takeover", None) is not None:
        return None
    server_bits, says = WINDOW, False
    if "server_max_window_bits" in seen:
        bits = seen.pop("server_max_window_bits")
        if bits is None or _BITS.fullmatch(bits) is None or int(bits) < MIN_WINDOW:
            return None
        server_bits, says = min(WINDOW, int(bits)), True
    client_bits = 15
    if "client_max_window_bits" in seen:
        # Only a client that says it can limit its window may be asked to.
        bits = seen.pop("client_max_window_bits")
        if bits is not None and _BITS.fullmatch(bits) is None:
            return None
        client_bits = min(WINDOW, 15 if bits is None else int(bits))
    return (
        None if seen else Agreement(server_forgets, client_forgets, server_bits, client_bits, says)
    )


class Codec:
    """Both directions of one connection."""

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self._out: zlib._Compress | None = None
        self._in: zlib._Decompress | None = None

    def deflate(self, data: bytes) -> bytes:
        """One whole message."""
        out = self._out
        if out is None:
            bits = -self.agreement.server_bits
            out = self._out = zlib.compressobj(LEVEL, zlib.DEFLATED, bits, MEMORY)
        packed = out.compress(data) + out.flush(zlib.Z_SYNC_FLUSH)
        if self.agreement.server_forgets:
            self._out = None
        return packed[: -len(_TAIL)]

    def inflate(self, data: bytes, limit: int, *, last: bool) -> bytes:
        """A piece of a message, ``last`` if it ends it.

        Raises TooLong beyond ``limit`` bytes, ValueError if it is not deflate.
        """
        parts, size = [], 0
        if last:
            data += _TAIL
        try:
            while data:
                if self._in is None:
                    self._in = zlib.decompressobj(-max(MIN_WINDOW, self.agreement.client_bits))
                part = self._in.decompress(data, limit - size + 1)
                size += len(part)
                if size > limit:
                    raise TooLong
                parts.append(part)
                data = self._in.unconsumed_tail
                if self._in.eof:
                    # The client ended its stream (BFINAL, section 7.2.3.4): another may follow.
                    data, self._in = self._in.unused_data, None
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if last and self.agreement.client_forgets:
            self._in = None
        return b"".join(parts)
