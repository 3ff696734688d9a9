"""A service on another machine that the examples ask and wait for: 40 to 60 ms an answer.

    python -m examples.upstream ADDRESS_FILE SECONDS SECONDS

listens on a free port of the loopback, writes its URL to the file, and answers every GET with a
little JSON. One thread of asyncio waits for any number of callers, so that it takes next to no
processor from the application that is measured beside it.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from functools import partial
from pathlib import Path

from examples import processes
from examples.hooks import ServiceError

DELAY_S = (0.040, 0.060)
START_S = 10.0


async def answer(
    delay_s: tuple[float, float], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one connection until its client closes it or asks for that."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("ascii", "replace")
            await asyncio.sleep(random.uniform(*delay_s))
            body = json.dumps({"path": path, "days": 1 + len(path) % 5, "price": "4.90"}).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            await writer.drain()
            if b"connection: close" in head.lower():
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(address: Path, delay_s: tuple[float, float]) -> None:
    server = await asyncio.start_server(partial(answer, delay_s), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    # Renamed into place, so that whoever waits for the file never reads half of it.
    draft = address.with_suffix(".draft")
    draft.write_text(f"http://127.0.0.1:{port}", encoding="ascii")
    draft.replace(address)
    await server.serve_forever()


def _address(directory: Path) -> Path:
    return directory / "upstream.address"


def start(directory: Path, delay_s: tuple[float, float] = DELAY_S) -> str:
    """Start the service, whose answers take from ``delay_s[0]`` to ``delay_s[1]`` seconds, and
    return its URL."""
    address = _address(directory)
    child = processes.spawn(
        [sys.executable, "-m", "examples.upstream", str(address), *map(str, delay_s)],
        directory / "upstream.log",
    )
    deadline = time.monotonic() + START_S
    while not address.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            raise ServiceError((directory / "upstream.log").read_text() or "upstream is silent")
        time.sleep(0.005)
    return address.read_text(encoding="ascii")


def stop(directory: Path) -> None:
    """End the service, if there is one."""
    processes.end(_address(directory))
    _address(directory).unlink(missing_ok=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), (float(sys.argv[2]), float(sys.argv[3]))))
