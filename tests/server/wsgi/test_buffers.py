"""What is held for slow clients: the same bytes in memory and in files, all of it given back."""

from __future__ import annotations

import random
import socket
import time
import tracemalloc

import pytest

from pretune.server.http11.refused import Refused
from pretune.server.process.log import Log
from pretune.server.workers import limits
from pretune.server.wsgi.buffers import IN_MEMORY, Allowance, Body, Rest, Room

LINES = b"".join(b"line %d\n" % n for n in range(200_000))  # 2.5 MB


def room(memory=1 << 30, files=1 << 30, directory=None) -> Room:
    log = Log()
    log.error = lambda text, *_, **__: said.append(text)  # type: ignore[method-assign]
    log.warning = lambda text, *_, **__: warned.append(text)  # type: ignore[method-assign]
    said: list[object] = []
    warned: list[object] = []
    made = Room(memory, files, directory, log)
    made.said, made.warned = said, warned  # type: ignore[attr-defined]
    return made


def pieces(data: bytes, seed: int = 1):
    rng = random.Random(seed)
    while data:
        size = rng.randint(1, 65536)
        yield data[:size]
        data = data[size:]


def test_an_allowance_is_taken_and_given_back():
    allowance = Allowance(10)
    assert allowance.take(7)
    assert not allowance.take(4)
    assert allowance.take(3)
    allowance.give(10)
    assert (allowance.taken, allowance.take(10)) == (0, True)


@pytest.mark.parametrize("size", [0, 5, IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, len(LINES)])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("memory", [0, 100_000, 1 << 30])
def test_a_body_reads_the_same_wherever_it_is(size, known, memory):
    data, held = LINES[:size], room(memory)
    for read in (
        lambda file: file.read(),
        lambda file: b"".join(file),
        lambda file: b"".join(iter(lambda: file.read(1000), b"")),
        lambda file: b"".join(iter(file.readline, b"")),
        lambda file: b"".join(file.readlines()),
        lambda file: file.read(10) + file.readline() + file.read(),
    ):
        body = Body(held, size if known else None)
        for part in pieces(data):
            body.add(part)
        assert held.memory.taken <= memory / 2
        assert held.memory.taken + held.files.taken == size
        assert read(body.input()) == data
        body.close()
        assert (held.memory.taken, held.files.taken) == (0, 0)


def test_a_body_for_which_there_is_no_room_is_refused(tmp_path):
    held = room(memory=1000, files=5000)
    other = Body(held, None)
    other.add(bytes(4000))
    late = Body(held, None)
    with pytest.raises(Refused) as refused:
        late.add(bytes(2000))
    assert refused.value.status == 503
    late.close()
    other.add(bytes(1000))
    with pytest.raises(Refused) as refused:
        other.add(b"1")
    assert refused.value.status == 413
    other.close()
    assert (held.memory.taken, held.files.taken) == (0, 0)
    assert len(held.said) == 1  # type: ignore[attr-defined]
    with pytest.raises(Refused) as refused:
        Body(room(memory=1 << 20, files=5 << 20), (5 << 20) + 1)
    assert refused.value.status == 413
    nowhere = Body(room(memory=0, directory=str(tmp_path / "none")), None)
    with pytest.raises(Refused) as refused:
        nowhere.add(b"1")
    assert refused.value.status == 503


def test_a_long_body_stays_in_memory_as_long_as_it_leaves_as_much():
    held = room(memory=64 << 20)
    body = Body(held, 32 << 20)
    for _ in range(32):
        body.add(bytes(1 << 20))
    assert (held.memory.taken, held.files.taken) == (32 << 20, 0)
    other = Body(held, 20 << 20)
    for _ in range(20):
        other.add(bytes(1 << 20))
    assert held.files.taken == 20 << 20
    for each in (body, other):
        each.close()
    assert (held.memory.taken, held.files.taken) == (0, 0)


@pytest.mark.parametrize("length", [None, 4 << 20], ids=["unknown", "known"])
def test_however_many_long_bodies_come_slowly_some_memory_is_left(length):
    held = room(memory=16 << 20)
    bodies = [Body(held, length) for _ in range(40)]
    for _ in range(64):
        for body in bodies:
            body.add(bytes(65536))
    assert 0 < held.memory.taken <= (16 << 20) - 65536
    assert held.memory.taken + held.files.taken == 40 * (4 << 20)
    in_files = held.files.taken
    short = Body(held, 50_000)
    short.add(bytes(50_000))
    assert held.files.taken == in_files
    for body in (*bodies, short):
        body.close()


def test_a_body_takes_no_descriptor_for_what_it_announces(tmp_path):
    nowhere = room(memory=64 << 20, directory=str(tmp_path / "none"))
    body = Body(nowhere, 1 << 30)
    body.add(bytes(IN_MEMORY))
    with pytest.raises(Refused) as refused:
        body.add(b"1")
    assert refused.value.status == 503
    body.close()


def test_a_body_in_small_pieces_takes_hardly_more_than_its_size():
    pieces_of_two = [bytes((n % 251, n % 241)) for n in range(50_000)]
    body = Body(room(), None)
    tracemalloc.start()
    for part in pieces_of_two:
        body.add(bytes(bytearray(part)))  # as recv() makes a new one each time
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert body.input().read() == b"".join(pieces_of_two)
    assert taken < 2 * 100_000


def test_a_directory_that_cannot_be_written_is_named_at_the_start(tmp_path, monkeypatch):
    assert room(directory=str(tmp_path)).warned == []  # type: ignore[attr-defined]
    (said,) = room(directory=str(tmp_path / "none")).warned  # type: ignore[attr-defined]
    assert str(tmp_path / "none") in said

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    (said,) = room().warned  # type: ignore[attr-defined]
    assert "no directory" in said


class Slow:
    """A pair of sockets of which one end reads when it is told to."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.got = b""

    def fill(self) -> int:
        """Until the kernel takes no more; how much that was."""
        sent = 0
        try:
            while True:
                sent += self.ours.send(bytes(1000))
        except BlockingIOError:
            return sent

    def read(self) -> None:
        try:
            while part := self.theirs.recv(65536):
                self.got += part
        except BlockingIOError:
            pass


@pytest.fixture
def slow():
    pair = Slow()
    yield pair
    pair.ours.close()
    pair.theirs.close()


def drained(rest: Rest, slow: Slow) -> bytes:
    while rest:
        try:
            rest.send()
        except BlockingIOError:
            slow.read()
    slow.read()
    return slow.got


@pytest.mark.parametrize("memory", [0, 50_000, 1 << 30])
def test_what_a_client_has_not_taken_comes_in_its_order(slow, tmp_path, memory):
    held = room(memory)
    rest = Rest(held, slow.ours)
    for part in pieces(LINES):
        assert rest.add(part)
    file = tmp_path / "file"
    file.write_bytes(LINES)
    with file.open("rb") as opened:
        rest.add_file(opened.fileno(), 7, len(LINES) - 7)
    assert held.memory.taken <= min(memory, IN_MEMORY)
    assert drained(rest, slow) == LINES + LINES[7:]
    assert (held.memory.taken, held.files.taken) == (0, 0)
    # It goes on after it was empty, and a piece that is in memory already may stay there.
    slow.got = b""
    assert rest.add(LINES, whole=True)
    assert rest.add(b"end")
    assert drained(rest, slow) == LINES + b"end"
    rest.close()
    assert (held.memory.taken, held.files.taken) == (0, 0)


@pytest.mark.parametrize(("sent", "kept"), [(10, 999_990), (999_990, 10), (0, 1_000_000)])
def test_of_a_response_that_is_mostly_sent_only_the_rest_is_kept(slow, sent, kept):
    held = room()
    data = random.Random(2).randbytes(1_000_000)
    rest = Rest(held, slow.ours)
    tracemalloc.start()
    copy = bytes(bytearray(data))
    assert rest.add(memoryview(copy)[sent:], whole=True)
    del copy
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held.memory.taken == kept
    assert taken < 2 * kept + 1000
    assert drained(rest, slow) == data[sent:]
    assert held.memory.taken == 0


def test_without_room_it_says_so_and_what_it_has_is_given_back(slow):
    held = room(memory=1000, files=2000)
    rest = Rest(held, slow.ours)
    assert rest.add(bytes(1000))
    assert rest.add(bytes(1500))
    assert not rest.add(bytes(1000))
    rest.close()
    assert (held.memory.taken, held.files.taken, bool(rest)) == (0, 0, False)


def test_a_file_that_became_shorter_ends_the_response(slow, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"short")
    rest = Rest(room(), slow.ours)
    with file.open("rb") as opened:
        rest.add_file(opened.fileno(), 0, 10)
    assert rest.send() == 5
    with pytest.raises(EOFError):
        rest.send()
    rest.close()


def test_a_client_must_take_enough_by_what_its_kernel_has_confirmed(slow):
    slow.fill()
    rest = Rest(room(), slow.ours)
    rest.add(bytes(100_000))
    now = time.monotonic()
    assert not rest.overdue(now)
    late = now + limits.SEND_PATIENCE + 1
    slow.read()  # we have not sent more, but it has taken what was there
    assert not rest.overdue(late)
    assert rest.deadline > late
    assert rest.overdue(rest.deadline + 1)
    rest.close()
