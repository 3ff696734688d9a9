"""An HTTP server whose answers depend on the path; it logs each request as a JSON line.

Raw sockets, so that it can answer wrongly on purpose.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
import threading
import time

BODY = b"hello"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + BODY


def answer(connection: socket.socket, path: str, turn: int) -> bool:
    """Send what the path asks for; whether the connection stays open. ``turn``: on it, from 0."""
    send = connection.sendall
    name, _, argument = path.lstrip("/").partition("/")
    match name:
        case "status":
            send(f"HTTP/1.1 {argument} Because\r\nContent-Length: 0\r\n\r\n".encode())
        case "redirect":
            send(
                f"HTTP/1.1 302 Found\r\nLocation: http://{argument}/\r\n"
                "Content-Length: 0\r\n\r\n".encode()
            )
        case "chunked":
            send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r")
            time.sleep(0.01)
            send(b"\n2\r\nlo\r\n0\r\nTrailer: x\r\n")
            time.sleep(0.01)
            send(b"\r\n")
        case "until-close":
            send(b"HTTP/1.0 200 OK\r\n\r\nhel")
            time.sleep(0.01)
            send(b"lo")
            return False
        case "said-close":
            send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
            return False
        case "silent-close":
            send(PLAIN)
            return False
        case "once":  # and the second request of a connection is read and dropped
            if turn:
                return False
            send(PLAIN)
        case "cut":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello")
            return False
        case "garbage":
            send(b"SSH-2.0-OpenSSH_9.0\r\n\r\n")
            return False
        case "cookie":
            send(PLAIN.replace(b"\r\n\r\n", b"\r\nSet-Cookie: session=abc; Path=/\r\n\r\n"))
        case "big":
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
        case "early":
            send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PLAIN)
        case "sleep":
            time.sleep(float(argument))
            send(PLAIN)
        case _:
            send(PLAIN)
    return True


def serve(connection: socket.socket, number: int, log: int) -> None:
    rest = b""
    with connection:
        for turn in itertools.count():
            while b"\r\n\r\n" not in rest:
                data = connection.recv(65536)
                if not data:
                    return
                rest += data
            started = time.perf_counter()
            head, _, rest = rest.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            headers = dict(item.lower().split(": ", 1) for item in fields)
            body = int(headers.get("content-length", 0))
            while len(rest) < body:
                rest += connection.recv(65536)
            rest = rest[body:]
            try:
                keep = answer(connection, line.split()[1], turn)
            except OSError:
                return
            seen = {
                "connection": number,
                "time": started,
                "wall": time.perf_counter() - started,
                "line": line,
                "headers": headers,
            }
            os.write(log, json.dumps(seen).encode() + b"\n")
            if not keep:
                return


def main() -> None:
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    number = 0
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection, number, log), daemon=True).start()
        number += 1


if __name__ == "__main__":
    main()
