"""Bodies of requests, small to long: requests/s of one client, and the worker's CPU for each.

    python bench/uploads.py [--rounds 5] [--seconds 1] [--tree ANOTHER_CHECKOUT ...]

One gthread worker with two threads, an app that reads all of the body, one client on keep-alive
that sends it at once. Trees (a second checkout, before a change) take turns; the best of the rounds
counts.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

SIZES = {
    "1 kB": 1 << 10, "60 kB": 60 << 10, "1 MB": 1 << 20, "4 MB": 4 << 20, "16 MB": 16 << 20,
}  # fmt: skip
APP = """
def application(environ, start_response):
    size = 0
    while data := environ["wsgi.input"].read(65536):
        size += len(data)
    start_response("200 OK", [("Content-Length", "8")])
    return [b"%8d" % size]
"""


def measure(tree: Path, directory: str, seconds: float) -> dict[str, tuple[float, float]]:
    """By size of body: requests/s, and seconds of the worker's CPU for one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(tree / "server" / "bootstrap.py"), "serve", "uploads_app"]
    flags = ["-b", f"127.0.0.1:{port}", "-w", "1", "--threads", "2", "--error-logfile", "log"]
    with subprocess.Popen([*command, *flags], cwd=directory) as server:
        try:
            sock = _connect(port)
            _post(sock, 1)  # waits for the worker
            worker = psutil.Process(server.pid).children()[0]
            return {name: _rate(sock, worker, size, seconds) for name, size in SIZES.items()}
        finally:
            server.send_signal(signal.SIGTERM)


def _connect(port: int) -> socket.socket:
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise SystemExit("the server does not start")


def _post(sock: socket.socket, size: int) -> None:
    sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    data = b""
    while not data.endswith(b"%8d" % size):
        part = sock.recv(4096)
        assert part, data
        data += part


def _rate(
    sock: socket.socket, worker: psutil.Process, size: int, seconds: float
) -> tuple[float, float]:
    count, cpu, began = 0, sum(worker.cpu_times()[:2]), time.monotonic()
    while time.monotonic() < began + seconds:
        _post(sock, size)
        count += 1
    took = time.monotonic() - began
    return count / took, (sum(worker.cpu_times()[:2]) - cpu) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement")
    parser.add_argument("--tree", type=Path, action="append", help="measure these, not this one")
    options = parser.parse_args()
    trees = options.tree or [Path(__file__).resolve().parents[1]]
    best: list[dict[str, tuple[float, float]]] = [{} for _ in trees]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "uploads_app.py").write_text(APP)
        for _ in range(options.rounds):
            for index, tree in enumerate(trees):
                for name, (rate, cpu) in measure(tree, directory, options.seconds).items():
                    before = best[index].get(name, (0.0, 1e9))
                    best[index][name] = max(before[0], rate), min(before[1], cpu)
    for name in SIZES:
        rows = (f"{each[name][0]:8.0f}/s {each[name][1] * 1e6:8.0f} us" for each in best)
        print(f"{name:8}", *rows)


if __name__ == "__main__":
    main()
