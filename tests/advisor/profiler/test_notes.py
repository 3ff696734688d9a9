"""Reading what workers noted: numbers of several files meet in one set of names."""

import json

import numpy as np
import pytest

from pretune.advisor.profiler import notes
from pretune.advisor.profiler.samples import Samples, nothing
from pretune.advisor.profiler.telemetry import RECORD

VIEW = ["shop/views.py", 41, "execute", True]
OTHER = ["shop/views.py", 50, "sleep", True]


def write(directory, pid, *lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / f"{pid}.notes").write_text(text)


@pytest.fixture
def two_workers(tmp_path):
    write(
        tmp_path, 11,
        ["place", 1, *VIEW],
        ["sample", 1.0, 2, 1, 1, 0, 1],
        ["route", 1, "/a/<int:pk>/"],  # its name comes after the first look at it
        ["out", 1.5, 2, 1, "api:443", 5, 0.25],
        ["cost", 2.0, 0.01, 100, 5],
    )  # fmt: skip
    write(
        tmp_path, 12,
        ["route", 1, "/b/"], ["route", 2, "/a/<int:pk>/"],
        ["place", 1, *OTHER], ["place", 2, *VIEW],
        ["sample", 1.2, 2, 2, 0, 1, 2],
        ["lag", 1.0, 0.01], ["block", 1.1, 0.08, 2, 1],
    )  # fmt: skip
    return tmp_path


def test_the_same_place_and_route_of_two_workers_are_one(two_workers):
    found = notes.read(two_workers)
    assert [found.places[p] for p in found.samples["place"]] == [tuple(VIEW)] * 2
    assert [found.routes[r] for r in found.samples["route"]] == ["/a/<int:pk>/"] * 2
    assert found.samples["held"].tolist() == [0, 1]
    assert [found.places[p] for p in found.blocks["place"]] == [tuple(OTHER)]
    (asked,) = found.outbound
    assert (found.hosts[asked["host"]], asked["calls"], asked["wait_s"]) == ("api:443", 5, 0.25)


def test_records_find_their_route_by_worker_and_number(two_workers):
    found = notes.read(two_workers)
    records = np.zeros(3, RECORD)
    records["pid"], records["route"] = [11, 12, 12], [1, 1, 0]
    assert [found.routes[r] for r in found.routes_of(records)] == ["/a/<int:pk>/", "/b/", ""]


def test_the_cost_of_a_worker_counts_up(two_workers):
    found = notes.read(two_workers)
    assert found.cpu_s(11, np.array([1.0, 3.0])).tolist() == [0.0, 0.01]
    assert found.cpu_s(99, np.array([1.0])).tolist() == [0.0]
    assert found.late_fraction == 0.05


def test_what_makes_no_sense_is_left_out(tmp_path):
    write(
        tmp_path, 11,
        ["place", 1, *VIEW],
        ["sample", 1.0, 1, 0, 0, 0, 77],  # a place nobody named
        ["sample", 1.0, 1, 0, 99, 0, 1],
        ["sample", "x"], [], {"a": 1}, ["unheard", 1],
        ["sample", 1.0, 1, 0, 0, 0, 1],
    )  # fmt: skip
    with (tmp_path / "11.notes").open("a") as file:
        file.write('["sample", 1.0, 1, 0,')  # being written
    assert len(notes.read(tmp_path).samples) == 1


def test_without_notes_there_are_none(tmp_path):
    assert notes.read(tmp_path) is None


def test_saved_samples_keep_their_notes(two_workers, tmp_path):
    found = notes.read(two_workers)
    samples = nothing(1)
    object.__setattr__(samples, "notes", found)
    samples.save(tmp_path / "s.npz")
    again = Samples.load(tmp_path / "s.npz").notes
    assert again.names() == found.names()
    assert (again.samples == found.samples).all()


def test_a_window_keeps_its_looks_and_the_calls_of_requests_that_end_after_it(two_workers):
    found = notes.read(two_workers).within(1.1, 1.3)
    assert len(found.samples) == 1
    assert len(found.outbound) == 1
    assert len(found.lags) == 0
