"""A workload that is written and read again is the same."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretune.loadtests import file as workload_file
from pretune.loadtests.file_writing import format_file
from pretune.loadtests.workload import Endpoint, Skipped, Workload

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
PATHS = TEXT.map(lambda text: "/" + text.replace("://", ""))


@st.composite
def endpoints(draw, number: int):
    paths = draw(st.lists(PATHS, min_size=1, max_size=3, unique=True))
    weights = draw(st.sampled_from([(), tuple(float(n + 1) for n in range(len(paths)))]))
    name = draw(st.sampled_from([paths[0], f"route {number}"]))
    method = draw(st.sampled_from(["GET", "HEAD"]))
    return Endpoint(name, tuple(paths), draw(st.floats(0.01, 1)), method, weights)


@st.composite
def workloads(draw):
    made = [draw(endpoints(number)) for number in range(draw(st.integers(1, 4)))]
    unique = list({each.name: each for each in made}.values())
    total = sum(each.share for each in unique)
    shares = [Endpoint(e.name, e.paths, e.share / total, e.method, e.weights) for e in unique]
    rps = draw(st.none() | st.floats(0.01, 1e5))
    return Workload(tuple(shares), kept=draw(st.booleans()), peak_rps=rps)


@given(workloads(), st.lists(st.text(max_size=40), max_size=3))
def test_it_is_read_as_it_was_written(workload, comments):
    read = workload_file.parse(format_file(workload, comments=comments))
    assert read.kept == workload.kept
    assert (read.peak_rps or 0) == pytest.approx(workload.peak_rps or 0, rel=1e-5)
    for again, each in zip(read.endpoints, workload.endpoints, strict=True):
        assert (again.name, again.paths, again.method, again.weights) == (
            each.name, each.paths, each.method, each.weights,
        )  # fmt: skip
        assert again.share == pytest.approx(each.share, rel=1e-4)


def test_a_route_is_left_to_be_found():
    workload = Workload((Endpoint("/p/<int:pk>/", ("/p/1/", "/p/2/"), 1.0),))
    text = format_file(workload, ["/p/<int:pk>/"])
    assert "/p/1/" not in text
    (read,) = workload_file.parse(text).endpoints
    assert (read.name, read.paths) == ("/p/<int:pk>/", ())


def test_what_was_left_out_stands_in_comments():
    text = format_file(Workload((), skipped=(Skipped("/login/", "a login\n[[endpoint]]\npage"),)))
    assert text.startswith("# left out: /login/: a login [[endpoint]] page\n")
    assert all(re.match(r"#|$", line) for line in text.splitlines())


def test_a_locustfile_is_not_written():
    with pytest.raises(ValueError, match="a locustfile"):
        format_file(Workload((), locustfile=Path("visits.py")))
