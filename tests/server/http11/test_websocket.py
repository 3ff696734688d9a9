"""RFC 6455 and RFC 7692 as tables: bytes of a client, and what the reader makes of them."""

from __future__ import annotations

import os
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol

from pretune.server.http11.deflate import Agreement, Codec, agree
from pretune.server.http11.http1 import parse_head
from pretune.server.http11.refused import Refused
from pretune.server.http11.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Closed,
    Pinged,
    Ponged,
    Reader,
    Violation,
    accept_key,
    check_opening,
    close_frame,
    frame,
    subprotocols,
)

MASK = b"\x37\xfa\x21\x3d"


def sent(opcode, payload=b"", *, fin=True, rsv=0, mask=MASK, size=None) -> bytes:
    """A client's frame, or what pretends to be one."""
    if isinstance(payload, str):
        payload = payload.encode()
    masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)) if mask else payload
    length = len(payload) if size is None else size
    bit = 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    if length < 126:
        head += bytes([bit | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", bit | 126, length)
    else:
        head += struct.pack("!BQ", bit | 127, length)
    return head + mask + masked


def read(data: bytes, step: int = 0, **options) -> list:
    """Events, then the code of a violation if there was one."""
    reader = Reader(**options)
    events = []
    step = step or len(data) or 1
    try:
        for at in range(0, len(data), step):
            events.extend(reader.feed(data[at : at + step]))
    except Violation as violation:
        events.append(violation.code)
    return events


close = struct.Struct("!H").pack

WELL_FORMED = {
    "empty text": (sent(TEXT), [""]),
    "empty binary": (sent(BINARY), [b""]),
    "text": (sent(TEXT, "Hällo"), ["Hällo"]),
    "125 bytes": (sent(BINARY, b"x" * 125), [b"x" * 125]),
    "126 bytes": (sent(BINARY, b"x" * 126), [b"x" * 126]),
    "65535 bytes": (sent(BINARY, b"x" * 65535), [b"x" * 65535]),
    "65536 bytes": (sent(BINARY, b"x" * 65536), [b"x" * 65536]),
    "mask of zeros": (sent(TEXT, "x", mask=bytes(4)), ["x"]),
    "two fragments": (sent(TEXT, "a", fin=False) + sent(CONTINUATION, "b"), ["ab"]),
    "empty fragments": (
        sent(TEXT, "", fin=False) + sent(CONTINUATION, "", fin=False) + sent(CONTINUATION, ""),
        [""],
    ),
    "a character across fragments": (
        sent(TEXT, b"\xf0\x9f", fin=False) + sent(CONTINUATION, b"\x92\xa9"),
        ["💩"],
    ),
    "ping between fragments": (
        sent(TEXT, "a", fin=False) + sent(PING, b"?") + sent(CONTINUATION, "b"),
        [Pinged(b"?"), "ab"],
    ),
    "pong unasked": (sent(PONG, b"!"), [Ponged(b"!")]),
    "ping of 125 bytes": (sent(PING, b"x" * 125), [Pinged(b"x" * 125)]),
    "close without a code": (sent(CLOSE), [Closed(NO_CODE, "")]),
    "close with a reason": (sent(CLOSE, close(1000) + "tschüß".encode()), [Closed(1000, "tschüß")]),
    "close of 125 bytes": (sent(CLOSE, close(3000) + b"x" * 123), [Closed(3000, "x" * 123)]),
    "nothing after a close counts": (sent(CLOSE) + b"\xff\xff rubbish", [Closed(NO_CODE, "")]),
    "close between fragments": (
        sent(TEXT, "a", fin=False) + sent(CLOSE, close(1001)),
        [Closed(1001, "")],
    ),
    "U+0000, U+FFFF, U+10FFFF": (
        sent(TEXT, b"\x00\xef\xbf\xbf\xf4\x8f\xbf\xbf"),
        ["\0￿\U0010ffff"],
    ),
}

BROKEN = {
    "not masked": (sent(TEXT, "x", mask=b""), 1002),
    "rsv1 without an extension": (sent(TEXT, "x", rsv=0x40), 1002),
    "rsv2": (sent(TEXT, "x", rsv=0x20), 1002),
    "rsv3": (sent(TEXT, "x", rsv=0x10), 1002),
    "rsv on a ping": (sent(PING, rsv=0x10), 1002),
    **{f"opcode {n}": (sent(n), 1002) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "fragmented ping": (sent(PING, fin=False), 1002),
    "fragmented close": (sent(CLOSE, fin=False), 1002),
    "ping of 126 bytes": (sent(PING, b"x" * 126), 1002),
    "close of 126 bytes": (sent(CLOSE, close(1000) + b"x" * 124), 1002),
    "continuation of nothing": (sent(CONTINUATION, "x"), 1002),
    "last continuation of nothing": (sent(CONTINUATION, "x", fin=False), 1002),
    "a second beginning": (sent(TEXT, "x", fin=False) + sent(TEXT, "y"), 1002),
    "binary into text": (sent(TEXT, "x", fin=False) + sent(BINARY, "y"), 1002),
    "16 bits for 125": (b"\x82\xfe\x00\x7d" + MASK + bytes(125), 1002),
    "64 bits for 65535": (b"\x82\xff" + struct.pack("!Q", 65535) + MASK, 1002),
    "a length of 64 bits": (b"\x82\xff" + b"\xff" * 8 + MASK, 1002),
    "half a close code": (sent(CLOSE, b"\x03"), 1002),
    **{
        f"close code {code}": (sent(CLOSE, close(code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "close reason not UTF-8": (sent(CLOSE, close(1000) + b"\xce\xba\xff"), 1007),
    "close reason cut within a character": (sent(CLOSE, close(1000) + b"\xce"), 1007),
    "text not UTF-8": (sent(TEXT, b"\xff"), 1007),
    "text cut within a character": (sent(TEXT, b"\xce"), 1007),
    "message too long": (sent(BINARY, size=(16 << 20) + 1), 1009),
}

# Beginnings that no continuation can make UTF-8 (RFC 3629): lone continuation, overlong,
# surrogates, beyond U+10FFFF, bytes that never occur.
NOT_UTF8 = (
    b"\x80", b"\xbf", b"\xc0", b"\xc1", b"\xc2\x41", b"\xe0\x80", b"\xe0\x9f", b"\xe1\x80\x41",
    b"\xed\xa0", b"\xed\xbf", b"\xf0\x80", b"\xf0\x8f", b"\xf0\x90\x80\x41", b"\xf4\x90",
    b"\xf5", b"\xf8", b"\xfe", b"\xff",
)  # fmt: skip


@pytest.mark.parametrize("name", WELL_FORMED)
@pytest.mark.parametrize("step", [0, 1, 7])
def test_well_formed(name, step):
    data, expected = WELL_FORMED[name]
    step = step * 1000 if len(data) > 10000 else step
    assert read(data, step) == expected


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("step", [0, 1])
def test_broken(name, step):
    data, code = BROKEN[name]
    # What came whole before it is delivered, and nothing else.
    assert read(sent(TEXT, "before") + data, step) == ["before", code]


@pytest.mark.parametrize("code", [1000, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_close_codes(code):
    assert read(sent(CLOSE, close(code))) == [Closed(code, "")]
    assert close_frame(code)[2:] == close(code)


@pytest.mark.parametrize("wrong", NOT_UTF8, ids=bytes.hex)
def test_wrong_utf8_is_refused_at_its_first_wrong_byte(wrong):
    """Wherever it stands, and before the rest of its frame has come."""
    for before in (b"", b"abc", "κόσμε".encode(), b"x" * 200):
        text = before + wrong
        whole = sent(TEXT, text + b"x" * 50, fin=False)
        header = len(whole) - len(text) - 50
        reader = Reader()
        assert list(reader.feed(whole[: header + len(text) - 1])) == []
        with pytest.raises(Violation) as violation:
            list(reader.feed(whole[header + len(text) - 1 : header + len(text)]))
        assert violation.value.code == 1007
        for cut in range(len(text) + 1):
            pieces = sent(TEXT, text[:cut], fin=False) + sent(CONTINUATION, text[cut:])
            assert read(pieces) == [1007]


def test_limits_hold_across_fragments_and_are_told_at_the_header():
    half = sent(BINARY, b"x" * 60, fin=False)
    assert read(half + sent(CONTINUATION, b"x" * 40), limit=100) == [b"x" * 100]
    assert read(half + sent(CONTINUATION, b"x" * 41)[:2], limit=100) == [1009]
    assert read(sent(BINARY, size=101)[:2], limit=100) == [1009]
    # A next message begins at zero.
    assert read(sent(BINARY, b"x" * 60) * 2, limit=100) == [b"x" * 60] * 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(st.text(max_size=60), st.binary(max_size=200)), st.integers(1, 4)),
        max_size=4,
    ),
    st.integers(1, 50),
)
def test_any_fragmentation_in_any_slices_reads_the_same(messages, step):
    data, expected = b"", []
    for message, parts in messages:
        text = isinstance(message, str)
        payload = message.encode() if text else message
        cuts = [len(payload) * n // parts for n in range(parts + 1)]
        for n in range(parts):
            opcode = CONTINUATION if n else TEXT if text else BINARY
            data += sent(opcode, payload[cuts[n] : cuts[n + 1]], fin=n == parts - 1)
            data += sent(PING)
        expected.append(message)
    assert [e for e in read(data, step) if not isinstance(e, Pinged)] == expected


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_rubbish_is_refused_or_waited_for(data, compressed):
    codec = Codec(Agreement()) if compressed else None
    for event in read(data, codec=codec):
        assert isinstance(event, str | bytes | Closed | Pinged | Ponged) or event in (
            1002, 1007, 1009,
        )  # fmt: skip


def test_a_client_of_another_make_reads_our_frames():
    client = FrameProtocol(client=True, extensions=[])
    big = os.urandom(70000)
    client.receive_bytes(
        frame(TEXT, b"hello") + frame(PING) + frame(BINARY, big[:300]) + frame(BINARY, big)
        + close_frame(1000, "é" * 100)
    )  # fmt: skip
    payloads = [f.payload for f in client.received_frames()]
    assert payloads[:2] == ["hello", b""]
    assert b"".join(p for p in payloads if isinstance(p, bytes | bytearray)) == big[:300] + big
    assert payloads[-1] == (1000, "é" * 61)


def test_codes_that_name_no_frame_are_not_sent():
    assert close_frame(NO_CODE) == b"\x88\x00"
    for code in (0, 1004, 1006, 1015, 2999, 5000):
        with pytest.raises(ValueError, match="cannot be sent"):
            close_frame(code)


# -- the opening handshake

HANDSHAKE = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def request_of(line: str = "GET /chat HTTP/1.1", **changes):
    fields = {**HANDSHAKE, **{k.replace("_", "-"): v for k, v in changes.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return parse_head("\r\n".join([line, *lines]).encode())


def test_the_key_of_the_rfc():
    assert accept_key(HANDSHAKE["Sec-WebSocket-Key"]) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


REFUSED = {
    "no version": ({"Sec_WebSocket_Version": None}, 426),
    "old version": ({"Sec_WebSocket_Version": "8"}, 426),
    "two versions": ({"Sec_WebSocket_Version": "13, 8"}, 426),
    "no key": ({"Sec_WebSocket_Key": None}, 400),
    "short key": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25j"}, 400),
    "key not base64": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZS!ub25jZQ=="}, 400),
    "key with spare bits": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZR=="}, 400),
    "two keys": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==,dGhlIHNhbXBsZSBub25jZQ=="}, 400),
    "a body": ({"Content_Length": "3"}, 400),
    "POST": ({"line": "POST /chat HTTP/1.1"}, 400),
    "protocol no token": ({"Sec_WebSocket_Protocol": "a b"}, 400),
    "protocol twice": ({"Sec_WebSocket_Protocol": "chat, chat"}, 400),
}


def check(request):
    assert request.upgrade == "websocket"
    check_opening(request.method, request.length, request.fields)


@pytest.mark.parametrize("name", REFUSED)
def test_handshakes_that_are_refused(name):
    changes, status = REFUSED[name]
    with pytest.raises(Refused) as refused:
        check(request_of(**changes))
    assert refused.value.status == status


def test_handshakes_that_are_taken():
    check(request_of())
    check(request_of(Upgrade="h2c, WebSocket"))
    request = request_of(Sec_WebSocket_Protocol="chat,, superchat")
    check(request)
    assert subprotocols(request.fields) == ["chat", "superchat"]


@pytest.mark.parametrize(
    "request_",
    [
        request_of(Connection="keep-alive"),
        request_of(Upgrade="h2c"),
        request_of("GET /chat HTTP/1.0", Connection="Upgrade"),
    ],
    ids=["not named by Connection", "another protocol", "HTTP/1.0"],
)
def test_what_does_not_ask_for_an_upgrade_is_plain_http(request_):
    assert request_.upgrade != "websocket"


# -- permessage-deflate

OFFERS = {
    "permessage-deflate": "permessage-deflate",
    "permessage-deflate; client_max_window_bits": "permessage-deflate; client_max_window_bits=12",
    "permessage-deflate; client_max_window_bits=10":
        "permessage-deflate; client_max_window_bits=10",
    "permessage-deflate; server_max_window_bits=15":
        "permessage-deflate; server_max_window_bits=12",
    'permessage-deflate; server_max_window_bits="10"':
        "permessage-deflate; server_max_window_bits=10",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover":
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "x-webkit-deflate-frame": None,
    "permessage-deflate; server_max_window_bits=8": None,
    "permessage-deflate; server_max_window_bits": None,
    "permessage-deflate; server_max_window_bits=16": None,
    "permessage-deflate; client_max_window_bits=7": None,
    "permessage-deflate; server_no_context_takeover=1": None,
    "permessage-deflate; unknown": None,
    "permessage-deflate; client_max_window_bits; client_max_window_bits": None,
    "foo, permessage-deflate; unknown, permessage-deflate": "permessage-deflate",
    "": None,
}  # fmt: skip


@pytest.mark.parametrize("offer", OFFERS)
def test_offers(offer):
    agreement = agree(offer)
    assert (str(agreement) if agreement is not None else None) == OFFERS[offer]


@pytest.mark.parametrize(
    "offer", [name for name, answer in OFFERS.items() if answer and "foo" not in name]
)
def test_deflate_with_a_client_of_another_make(offer):
    agreement = agree(offer)
    theirs = PerMessageDeflate(client_max_window_bits=12)
    theirs.finalize(str(agreement))
    client = FrameProtocol(client=True, extensions=[theirs])
    codec = Codec(agreement)
    reader = Reader(codec=codec)
    for message in ("hello " * 100, "hello " * 100, "", "é" * 5000):
        events = list(reader.feed(client.send_data(message, fin=True)))
        assert events == [message]
        client.receive_bytes(frame(TEXT, codec.deflate(message.encode()), compressed=True))
        assert "".join(f.payload for f in client.received_frames()) == message


def deflated(data: bytes) -> bytes:
    out = zlib.compressobj(9, wbits=-15)
    return (out.compress(data) + out.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # The examples of RFC 7692 section 7.2.3.
        (sent(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=0x40), ["Hello"]),
        (
            sent(TEXT, bytes.fromhex("f248cd"), rsv=0x40, fin=False)
            + sent(CONTINUATION, bytes.fromhex("c9c90700")),
            ["Hello"],
        ),
        (
            sent(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=0x40)
            + sent(TEXT, bytes.fromhex("f200110000"), rsv=0x40),
            ["Hello", "Hello"],
        ),
        (sent(TEXT, bytes.fromhex("000500faff48656c6c6f00"), rsv=0x40), ["Hello"]),
        (sent(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=0x40), ["Hello"]),
        (sent(TEXT, bytes.fromhex("f24805000000ffffcac9c90700"), rsv=0x40), ["Hello"]),
        (sent(TEXT, "plain"), ["plain"]),
        (sent(PING, b"", rsv=0x40), [1002]),
        (
            sent(TEXT, deflated(b"x"), rsv=0x40, fin=False) + sent(CONTINUATION, b"", rsv=0x40),
            [1002],
        ),
        (sent(TEXT, b"\xff\xff\xff", rsv=0x40), [1007]),
        (sent(TEXT, deflated(b"\xff"), rsv=0x40), [1007]),
        (sent(BINARY, deflated(bytes(1000)), rsv=0x40), [bytes(1000)]),
        (sent(BINARY, deflated(bytes(1001)), rsv=0x40), [1009]),
        (sent(BINARY, deflated(bytes(50_000_000)), rsv=0x40), [1009]),
    ],
)
def test_deflated_messages(data, expected):
    for step in (0, 1) if len(data) < 1000 else (0, 1000):
        assert read(data, step, codec=Codec(Agreement()), limit=1000) == expected
