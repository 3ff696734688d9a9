"""The reader of telemetry rings against a writer that does what the layout says."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from pretune.advisor.profiler.telemetry import PATIENCE, RECORD, Ring, RingReader
from pretune.server import telemetry as layout


class Writer:
    """Writes records as a worker does: the number last."""

    def __init__(self, directory: Path, pid: int = 7, capacity: int = 64) -> None:
        self.path = directory / f"{pid}.ring"
        self.capacity = capacity
        size = layout.HEADER_SIZE + capacity * layout.RECORD.size
        with self.path.open("w+b") as file:
            file.truncate(size)
            self.map = mmap.mmap(file.fileno(), size)
        layout.HEADER.pack_into(self.map, 0, layout.MAGIC, capacity, layout.RECORD.size, pid)

    def write(self, seq: int, *, wall: float = 0.5, endpoint: int = 1) -> None:
        values = {name: 0 for name, _, _ in layout.FIELDS}
        values |= {"seq": seq, "start": seq / 10, "wall": wall, "endpoint": endpoint, "status": 200}
        place = layout.HEADER_SIZE + (seq - 1) % self.capacity * layout.RECORD.size
        layout.RECORD.pack_into(self.map, place, *values.values())


def test_every_record_arrives_once_and_in_order(tmp_path):
    writer = Writer(tmp_path)
    ring = Ring(writer.path)
    got = []
    for seq in range(1, 301):
        writer.write(seq, wall=seq * 1.5)
        if seq % 7 == 0:
            got.append(ring.poll())
    got.append(ring.poll())
    records = np.concatenate(got)
    assert records["seq"].tolist() == list(range(1, 301))
    assert records["wall"].tolist() == [seq * 1.5 for seq in range(1, 301)]
    assert set(records["pid"].tolist()) == {7}
    assert ring.lost == 0
    assert ring.seen == 300


def test_what_the_writer_wrote_over_is_counted_as_lost(tmp_path):
    writer = Writer(tmp_path, capacity=64)
    ring = Ring(writer.path)
    for seq in range(1, 501):
        writer.write(seq)
    records = ring.poll()
    assert records["seq"][-1] == 500
    assert len(records) + ring.lost == 500
    assert len(records) <= 64
    assert ring.lost >= 500 - 64


def test_a_record_the_writer_is_about_to_overwrite_is_not_trusted(tmp_path):
    # The fields of the next lap may already stand under the old number.
    writer = Writer(tmp_path, capacity=64)
    ring = Ring(writer.path)
    for seq in range(1, 64):
        writer.write(seq)
    assert len(ring.poll()) == 63 - 7  # a capacity of 64 keeps a margin of 8
    assert ring.lost == 7


def test_a_number_that_is_late_is_waited_for(tmp_path):
    writer = Writer(tmp_path)
    ring = Ring(writer.path)
    for seq in (1, 2, 4, 5):
        writer.write(seq)
    assert ring.poll()["seq"].tolist() == [1, 2]
    writer.write(3)
    assert ring.poll()["seq"].tolist() == [3, 4, 5]
    assert ring.lost == 0


def test_a_number_that_never_comes_is_lost_and_the_rest_read(tmp_path):
    writer = Writer(tmp_path)
    ring = Ring(writer.path)
    for seq in (1, 2, 4, 5):
        writer.write(seq)
    got = np.concatenate([ring.poll() for _ in range(PATIENCE + 1)])
    assert got["seq"].tolist() == [1, 2, 4, 5]
    assert ring.lost == 1


def test_the_last_poll_waits_for_nothing(tmp_path):
    writer = Writer(tmp_path)
    ring = Ring(writer.path)
    for seq in (2, 3):
        writer.write(seq)
    assert ring.poll(final=True)["seq"].tolist() == [2, 3]
    assert ring.lost == 1


def test_the_ring_of_a_dead_worker_is_still_read(tmp_path):
    writer = Writer(tmp_path)
    reader = RingReader(tmp_path)
    reader.scan()
    writer.write(1)
    writer.map.close()
    writer.path.unlink()
    assert reader.poll()["seq"].tolist() == [1]
    assert reader.served() == {7: 1}


@pytest.mark.parametrize("content", [b"", b"pretune1", b"x" * 4096])
def test_a_file_that_is_no_ring_yet_is_left_alone(tmp_path, content):
    (tmp_path / "1.ring").write_bytes(content)
    reader = RingReader(tmp_path)
    reader.scan()
    assert len(reader.poll()) == 0


def test_the_dtype_is_the_layout():
    assert RECORD.itemsize == layout.RECORD.size
    values = tuple(range(1, len(layout.FIELDS) + 1))
    record = np.frombuffer(layout.RECORD.pack(*values), RECORD)[0]
    assert [float(x) for x in record.tolist()] == list(values)
