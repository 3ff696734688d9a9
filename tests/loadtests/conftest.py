"""A small real HTTP server in a process of its own, and one driver for all tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretune.loadtests.session import Driver

SERVER = Path(__file__).with_name("answering_server.py")


class Answering:
    """The server's address, and what it has seen so far."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), str(log)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.address = ("127.0.0.1", int(self.process.stdout.readline()))

    def seen(self) -> list[dict]:
        """Requests in order: connection, time, wall, line, headers."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Answering]:
    answering = Answering(tmp_path / "seen.jsonl")
    yield answering
    answering.close()


@pytest.fixture
def other_server(tmp_path: Path) -> Iterator[Answering]:
    answering = Answering(tmp_path / "other.jsonl")
    yield answering
    answering.close()


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    with Driver.start() as started:
        yield started
