"""PROXY headers of both versions: bytes and what they mean."""

from __future__ import annotations

import socket
import struct

import pytest

from pretune.server.http11 import proxy_protocol
from pretune.server.http11.forwarded import Trust
from pretune.server.http11.refused import Refused

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4 = socket.inet_aton("1.2.3.4") + socket.inet_aton("5.6.7.8") + struct.pack("!HH", 90, 80)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "::2")
    + struct.pack("!HH", 90, 80)
)


def v2(command: int, family: int, payload: bytes, size: int | None = None) -> bytes:
    size = len(payload) if size is None else size
    return SIGNATURE + struct.pack("!BBH", command, family, size) + payload


GOOD = [
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 90 80\r\n", (("1.2.3.4", 90), ("5.6.7.8", 80))),
    (b"PROXY TCP6 2001:DB8::1 ::2 90 80\r\n", (("2001:db8::1", 90), ("::2", 80))),
    (b"PROXY UNKNOWN\r\n", (None, None)),
    (b"PROXY UNKNOWN ffff::1 anything at all\r\n", (None, None)),
    (v2(0x21, 0x11, V4), (("1.2.3.4", 90), ("5.6.7.8", 80))),
    (v2(0x21, 0x11, V4 + b"\x04\x00\x01x"), (("1.2.3.4", 90), ("5.6.7.8", 80))),
    (v2(0x21, 0x21, V6), (("2001:db8::1", 90), ("::2", 80))),
    (v2(0x21, 0x31, b"/a".ljust(216, b"\0")), (None, None)),
    (v2(0x21, 0x00, b"whatever"), (None, None)),
    (v2(0x20, 0x00, b""), (None, None)),
    (v2(0x20, 0x11, V4), (None, None)),
]


@pytest.mark.parametrize(("header", "addresses"), GOOD)
def test_a_header_whole_and_byte_by_byte(header, addresses):
    assert proxy_protocol.take(header + b"GET") == (addresses, b"GET")
    for size in range(len(header)):
        assert proxy_protocol.take(header[:size]) == (None, header[:size])


BAD = [
    b"GET / HTTP/1.1\r\n",
    b"PROX ",
    b"proxy TCP4 1.2.3.4 5.6.7.8 90 80\r\n",
    b"PROXY\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP5 1.2.3.4 5.6.7.8 90 80\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 90\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 90 80 \r\n",
    b"PROXY TCP4 1.2.3.4  5.6.7.8 90 80\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 90 80 70\r\n",
    b"PROXY TCP4 1.2.3 5.6.7.8 90 80\r\n",
    b"PROXY TCP4 1.2.3.004 5.6.7.8 90 80\r\n",
    b"PROXY TCP4 ::1 ::2 90 80\r\n",
    b"PROXY TCP6 1.2.3.4 5.6.7.8 90 80\r\n",
    b"PROXY TCP6 [::1] ::2 90 80\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::2 90 80\r\n",
    b"PROXY TCP4 1.2.3.4\0 5.6.7.8 90 80\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 090 80\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 +90 80\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 80\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 90 999999\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 \xb2 80\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 90 80\nGET".ljust(108),
    b"PROXY UNKNOWN " + b"a" * 100 + b"\r\n",
    SIGNATURE[:-1] + b"X",
    v2(0x11, 0x11, V4),
    v2(0x22, 0x11, V4),
    v2(0x21, 0x12, V4),
    v2(0x21, 0x41, V4),
    v2(0x21, 0x11, V4[:-1]),
    v2(0x21, 0x21, V4),
    v2(0x21, 0x31, b"/a"),
    v2(0x21, 0x11, b"", size=5000),
]


@pytest.mark.parametrize("data", BAD)
def test_refused(data):
    with pytest.raises(Refused) as refused:
        proxy_protocol.take(data)
    assert refused.value.status == 400


def test_who_may_send_one():
    proxy_protocol.allowed(Trust("10.0.0.0/8"), "10.1.1.1")
    proxy_protocol.allowed(Trust("10.0.0.0/8"), "")  # a unix socket
    with pytest.raises(Refused) as refused:
        proxy_protocol.allowed(Trust("10.0.0.0/8"), "11.1.1.1")
    assert refused.value.status == 403
