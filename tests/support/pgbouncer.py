"""A throw-away PgBouncer in front of a throw-away Postgres; skipped where it is not installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
import pytest

START_S = 10.0
NOBODY = 65534


@contextlib.contextmanager
def pgbouncer(url: str, *, console: bool = True, **settings: object) -> Iterator[str]:
    """A URL like ``url`` that leads through a pooler; ``console``: its user may ask the console."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    database, port = parts.path.lstrip("/"), _free_port()
    directory = Path(tempfile.mkdtemp(prefix="pretune-pgbouncer-"))
    try:
        (directory / "users").write_text(f'"{user}" "{password}"\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": directory / "users",
            "pool_mode": "transaction",
            "default_pool_size": 5,
            "reserve_pool_size": 0,
            "max_client_conn": 40,
            **({"stats_users": user} if console else {}),
            **settings,
        }
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host={parts.hostname} port={parts.port}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in lines.items())
        )
        line = [program, str(directory / "pgbouncer.ini")]
        if os.geteuid() == 0:  # which it refuses to be
            for path in (directory, *directory.iterdir()):
                os.chown(path, NOBODY, NOBODY)
            line += ["-u", "nobody"]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            through = urlunsplit(
                parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}")
            )
            _wait(through, process)
            yield through
        finally:
            process.terminate()
            process.communicate(timeout=10)
    finally:
        shutil.rmtree(directory)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"pgbouncer did not start: {error}") from error
            time.sleep(0.05)
        else:
            return
