"""Clients that do harm: what one of them does in a few seconds, and crowds of them.

Nothing they get is checked: what they do to others is.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress

from bench.chaos.truce import Truce
from bench.clients import Address
from bench.fuzz import grammar

PATIENCE = 2.0  # s for a step of a foe
_NO_LINGER = struct.pack("ii", 1, 0)  # close() resets
_HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
_GET = b"GET /13" + _HEAD + b"\r\n"
_UPGRADE = (
    b"GET /ws" + _HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
_MANY = 30  # connections of a flood


class Foe:
    """One of them. ``peace``: set while all is to be quiet."""

    def __init__(self, address: Address, dice: random.Random, peace: threading.Event) -> None:
        self.address, self.dice, self.peace = address, dice, peace

    def act(self, stunt: Callable[[Foe, ExitStack], None]) -> None:
        with ExitStack() as stack, suppress(OSError):
            stunt(self, stack)

    def connect(self, stack: ExitStack, window: int = 0) -> socket.socket:
        """A connection that is closed, or reset, with the stack. ``window``: receive buffer."""
        sock = socket.socket()
        stack.callback(sock.close)
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        if self.dice.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        sock.settimeout(PATIENCE)
        sock.connect(self.address)
        return sock

    def pause(self, most: float) -> bool:
        """False once there is peace."""
        return not self.peace.wait(self.dice.uniform(0, most))


def mutate(foe: Foe, stack: ExitStack) -> None:
    """Requests as they should not be, in pieces."""
    sock = foe.connect(stack)
    data, _ = grammar.stream(foe.dice)
    for piece in grammar.pieces(foe.dice, grammar.mutated(foe.dice, data))[:50]:
        sock.sendall(piece)
    sock.settimeout(0.2)
    sock.recv(1000)


def reset(foe: Foe, stack: ExitStack) -> None:
    """Go away at a random byte of a request, or of its answer."""
    body = b"z" * foe.dice.choice((10, 5000, 200_000, 2_000_000))
    data = foe.dice.choice(
        (
            _GET,
            _GET * 20,
            b"GET /raise" + _HEAD + b"\r\nrest",
            b"GET /stream" + _HEAD + b"\r\n",
            b"POST /13" + _HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            b"POST /13" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
            + grammar.chunked(foe.dice, body[:5000]),
            b"POST /13" + _HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            _UPGRADE + frame(1, b"hello") * 3,
        )
    )  # fmt: skip
    sock = foe.connect(stack)
    sock.sendall(data[: foe.dice.randrange(len(data)) + 1])
    if foe.dice.random() < 0.5:
        sock.settimeout(0.1)
        sock.recv(foe.dice.choice((1, 100, 100_000)))


def upload_slowly(foe: Foe, stack: ExitStack) -> None:
    """A body that comes in drops, faster or slower than the server wants; mostly given up."""
    sock = foe.connect(stack)
    size = foe.dice.choice((3000, 3_000_000))
    sock.sendall(b"POST /13" + _HEAD + b"Content-Length: %d\r\n\r\n" % size)
    sock.sendall(b"z" * foe.dice.randrange(size))
    for _ in range(40):
        sock.sendall(b"z" * foe.dice.choice((1, 200)))
        if not foe.pause(0.2):
            break


def stall(foe: Foe, stack: ExitStack) -> None:
    """Ask for much and read little; then all of it, or nothing."""
    sock = foe.connect(stack, window=8192)
    sock.sendall(foe.dice.choice((b"GET /stream", b"GET /cut", b"GET /20000000")) + _HEAD + b"\r\n")
    for _ in range(10):
        sock.recv(3000)
        if not foe.pause(1.0):
            return
    if foe.dice.random() < 0.5:
        end = time.monotonic() + PATIENCE
        while sock.recv(1 << 18) and time.monotonic() < end:
            pass


def flood(foe: Foe, stack: ExitStack) -> None:
    """Many connections at once: silent, with half a head, or with many requests and no reader."""
    data = foe.dice.choice((b"", b"GET / HT", _GET, _GET * 100, b"GET /raise" + _HEAD + b"\r\n"))
    for _ in range(_MANY):
        sock = foe.connect(stack)
        if data:
            sock.sendall(data)
    foe.pause(1.0)


def misuse_websocket(foe: Foe, stack: ExitStack) -> None:
    """Messages that never end, inflate to much, are malformed, or whose answers nobody reads."""
    sock = foe.connect(stack)
    sock.sendall(_UPGRADE)
    sock.recv(1000)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(4 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    sock.sendall(
        foe.dice.choice(
            (
                frame(2, bomb, final=False, reserved=0x40),
                frame(2, b"ab", final=False) + frame(0, b"ab", final=False) * 5000,
                frame(9, b"x" * 100) * 2000,
                frame(1, b"hello") * 500,
                foe.dice.randbytes(500),
                frame(8, b"\x03\xe8"),
            )
        )
    )
    foe.pause(1.0)


def frame(opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0) -> bytes:
    """A client's, masked with zeros."""
    first, size = opcode | reserved | (0x80 if final else 0), len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    return head + bytes(4) + payload


STUNTS = {
    "mutated requests": mutate,
    "resets": reset,
    "slow uploads": upload_slowly,
    "stalled readers": stall,
    "floods": flood,
    "WebSocket": misuse_websocket,
}


class Crowd:
    """``size`` foes, each a thread, of one server, until left."""

    def __init__(self, address: Address, size: int, seed: int, truce: Truce) -> None:
        self.stunts: Counter[str] = Counter()
        self.crashed: list[str] = []
        self._address, self._size, self._seed, self._truce = address, size, seed, truce
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Crowd:
        self._threads = [
            threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(self._size)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10 * PATIENCE)

    def _run(self, number: int) -> None:
        dice = random.Random(self._seed * 1000 + number)
        foe = Foe(self._address, dice, self._truce.peace)
        while not self._stop.is_set():
            with self._truce.acting() as may:
                if may:
                    name = dice.choice(tuple(STUNTS))
                    with self._lock:
                        self.stunts[name] += 1
                    try:
                        foe.act(STUNTS[name])
                    except Exception as error:
                        self.crashed.append(f"{name}: {type(error).__name__}: {error}")
            time.sleep(dice.uniform(0, 0.1))
