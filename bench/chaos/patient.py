"""Well-behaved clients whose requests take a second: uploads in parts, streams read in parts.

Whatever is done to the server meanwhile, each must be answered whole.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable

from bench.chaos.truce import Truce
from bench.clients import PATIENCE, Address, Failed, Failure, connect, receive

PARTS = 10
PAUSE = 0.1  # s between two parts
PART = 30_000  # bytes of an upload's part
STREAM = 256 * 65536  # bytes of /stream


class Patient:
    """One uploads, one reads, in turn, each a thread, until left."""

    def __init__(self, address: Address, seed: int, truce: Truce) -> None:
        self.address = address
        self.answers = 0
        self.failures: list[Failure] = []
        self._seed, self._truce = seed, truce
        self._stop = threading.Event()

    def __enter__(self) -> Patient:
        self._threads = [
            threading.Thread(target=self._run, args=(request,), daemon=True)
            for request in (self._upload, self._download)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)

    def _run(self, request: Callable[[], None]) -> None:
        dice = random.Random(self._seed)
        while not self._stop.is_set():
            with self._truce.acting() as may:
                if may:
                    self._try(request)
            self._stop.wait(dice.uniform(0.05, 0.2))

    def _try(self, request: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            request()
            self.answers += 1
        except Failed as failed:
            self.failures.append(
                Failure(failed.kind, began, time.monotonic(), 0, 0, False, failed.detail)
            )

    def _upload(self) -> None:
        with connect(self.address) as sock:
            try:
                sock.sendall(
                    b"POST /13 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    b"Content-Length: %d\r\n\r\n" % (PARTS * PART)
                )
                for _ in range(PARTS):
                    sock.sendall(b"y" * PART)
                    time.sleep(PAUSE)
            except OSError as error:
                raise Failed("reset", f"within the upload: {error!r}") from None
            head, body = self._answer(sock)
            if b"x-got: %d\r\n" % (PARTS * PART) not in head.lower() + b"\r\n" or len(body) != 13:
                raise Failed("wrong", repr(head[-200:]))

    def _download(self) -> None:
        with connect(self.address) as sock:
            sock.sendall(b"GET /stream HTTP/1.0\r\nHost: localhost\r\n\r\n")
            _, body = self._answer(sock, pause=PAUSE)
            # Without the last chunk's mark HTTP/1.0 has nothing but the length we know.
            if len(body) != STREAM:
                raise Failed("cut", f"{len(body)} bytes of the stream")
            for n in range(0, 256, 5):
                if body[n * 65536 : n * 65536 + 8] != b"%08d" % n:
                    raise Failed("wrong", f"part {n} of the stream")

    def _answer(self, sock: socket.socket, pause: float = 0.0) -> tuple[bytes, bytes]:
        """Head and body, up to the end of the connection; pausing a few times."""
        data, pauses = bytearray(), PARTS if pause else 0
        while True:
            part = receive(sock, len(data), 1 << 20)
            if not part:
                break
            data += part
            if pauses:
                pauses -= 1
                time.sleep(pause)
        head, _, body = bytes(data).partition(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise Failed("status", repr(head[:60]))
        return head, body
