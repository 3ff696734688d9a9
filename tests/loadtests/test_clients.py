"""Slow, large and punctual clients, against a server that runs the stand-in application."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretune.loadtests import clients
from pretune.loadtests.clients import Address, KeepAliveClient, Unanswered
from pretune.server.adapters import byte_app, embedded
from pretune.server.adapters.launch import Launch
from pretune.server.settings import Settings

FILE = b"0123456789" * 20_000


@pytest.fixture(params=["application", "asgi"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Address]:
    """The address."""
    file = tmp_path / "file"
    file.write_bytes(FILE)
    kind = "asgi" if request.param == "asgi" else "gthread"
    running = embedded.start(
        Launch(
            target=f"pretune.server.adapters.byte_app:{request.param}",
            settings=Settings(threads=4, worker_class=kind, graceful_timeout=2.0),
            python=Path(sys.executable),
            chdir=tmp_path,
            env={"PATH": os.environ["PATH"], byte_app.FILE: str(file)},
            log=tmp_path / "log",
        )
    )
    try:
        yield running.wait_ready(120)
    finally:
        running.stop(10)


def test_what_the_stand_in_answers(server: Address) -> None:
    one = KeepAliveClient(server)
    assert one.get("/")[1] == 2
    assert one.get("/send/150001")[1] == 150_001
    assert one.get("/file/any.css")[1] == len(FILE)
    one.close()
    size, seconds = clients.upload(server, "/read", 300_000).split()
    assert int(size) == 300_000
    assert float(seconds) >= 0


def test_slow_ones_take_their_time(server: Address) -> None:
    began = time.perf_counter()
    size, _ = clients.upload(server, "/read", 8_000, seconds=0.3).split()
    assert int(size) == 8_000
    assert time.perf_counter() - began >= 0.3
    began = time.perf_counter()
    clients.download(server, "/send/400000", 400_000, seconds=0.3)
    assert time.perf_counter() - began >= 0.3
    with pytest.raises(Unanswered, match="bytes"):
        clients.download(server, "/send/10", 400_000, seconds=0.0)


def test_requests_come_at_their_moments_whatever_became_of_the_others(server: Address) -> None:
    took = clients.get_at(server, "/", [0.0, 0.05, 0.1])
    assert len(took) == 3
    assert all(0 < seconds < 20 for seconds in took)


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    nobody = ("127.0.0.1", 9)
    assert clients.get_at(nobody, "/", [0.0]) == [math.inf]
    for ask in (
        lambda: KeepAliveClient(nobody).get("/"),
        lambda: clients.upload(nobody, "/read", 10),
        lambda: clients.download(nobody, "/", 10, 0.0),
    ):
        with pytest.raises(Unanswered, match="Refused"):
            ask()
