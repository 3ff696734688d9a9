"""The PROXY protocol, versions 1 and 2: who is behind a proxy that passes bytes on unread.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt

When ``proxy_protocol`` is on, every connection begins with the header and a request without it is
refused: the specification forbids to guess, or a client could write the header itself. Only peers
in ``proxy_allow_ips`` may send it; the connection of another is refused with 403. So, at the start
of a connection: ``allowed(trust, peer)`` once, then ``take`` with all bytes so far until it gives
addresses.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from pretune.server.http11.forwarded import Trust
from pretune.server.http11.refused import Refused

MAX_V1 = 107  # bytes, line end included: section 2.1
MAX_V2 = 4096  # addresses and extensions; ours, 16 bits could say more

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
# Address family and transport: how the addresses are packed. Datagrams do not carry HTTP/1.
_PACKED = {
    0x11: (socket.AF_INET, struct.Struct("!4s4sHH")),
    0x21: (socket.AF_INET6, struct.Struct("!16s16sHH")),
}
_UNKNOWN, _UNIX = 0x00, 0x31
_UNIX_SIZE = 216
_FAMILIES = {"TCP4": socket.AF_INET, "TCP6": socket.AF_INET6}


class Addresses(NamedTuple):
    """The two ends of a connection, as the proxy saw them.

    Both None if the proxy speaks for itself (health checks) or does not know: then the addresses
    of the connection itself count.
    """

    source: tuple[str, int] | None
    target: tuple[str, int] | None


_OWN = Addresses(None, None)


def allowed(trust: Trust, peer: str) -> None:
    """Raises Refused if ``peer`` may not send a PROXY header."""
    if not trust.covers(peer):
        raise Refused(403, "no PROXY header is taken from this peer")


def take(data: bytes) -> tuple[Addresses | None, bytes]:
    """``(addresses, rest)``, or ``(None, data)`` while the header is incomplete. Raises Refused."""
    if data[:1] == b"\r":
        return _take_v2(data)
    if not data.startswith(b"PROXY "[: len(data)]):
        raise Refused(400, "the connection does not begin with a PROXY header")
    end = data.find(b"\r\n", 0, MAX_V1)
    if end >= 0:
        return _parse_v1(data[:end]), data[end + 2 :]
    if len(data) >= MAX_V1:
        raise Refused(400, "the PROXY header is too long")
    return None, data


def _parse_v1(line: bytes) -> Addresses:
    words = line.decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return _OWN  # what follows must be ignored: section 2.1
    family = _FAMILIES.get(words[1])
    if family is None or len(words) != 6:
        raise Refused(400, "malformed PROXY header")
    _, _, source, target, source_port, target_port = words
    return Addresses(
        (_canonical(family, source), _port(source_port)),
        (_canonical(family, target), _port(target_port)),
    )


def _canonical(family: socket.AddressFamily, text: str) -> str:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text))
    except (OSError, ValueError):
        raise Refused(400, "malformed address in the PROXY header") from None


def _port(text: str) -> int:
    # One spelling for each number: no sign, no leading zero.
    if not text.isascii() or not text.isdigit() or str(int(text[:5])) != text or int(text) > 65535:
        raise Refused(400, "malformed port in the PROXY header")
    return int(text)


def _take_v2(data: bytes) -> tuple[Addresses | None, bytes]:
    if not data.startswith(_SIGNATURE[: len(data)]):
        raise Refused(400, "the connection does not begin with a PROXY header")
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise Refused(400, "unknown version or command of the PROXY header")
    if len(data) < 16:
        return None, data
    command, family, size = struct.unpack_from("!BBH", data, 12)
    if size > MAX_V2:
        raise Refused(400, "the PROXY header is too long")
    if len(data) < 16 + size:
        return None, data
    return _parse_v2(command, family, data[16 : 16 + size]), data[16 + size :]


def _parse_v2(command: int, family: int, payload: bytes) -> Addresses:
    """Extensions after the addresses (TLVs) are not looked at."""
    if command == _LOCAL or family == _UNKNOWN:
        return _OWN  # sections 2.2: the rest must be ignored
    if family == _UNIX and len(payload) >= _UNIX_SIZE:
        return _OWN  # a path is no address an app could use
    packed = _PACKED.get(family)
    if packed is None or len(payload) < packed[1].size:
        raise Refused(400, "malformed PROXY header")
    source, target, source_port, target_port = packed[1].unpack_from(payload)
    return Addresses(
        (socket.inet_ntop(packed[0], source), source_port),
        (socket.inet_ntop(packed[0], target), target_port),
    )
