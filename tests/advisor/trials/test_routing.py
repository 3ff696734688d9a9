"""Raw paths of a locustfile become the routes that the app itself took."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.measurement.leaks import Quiet
from pretune.advisor.preflight import preflight
from pretune.advisor.preflight.location import locate
from pretune.advisor.preflight.options import resolve
from pretune.advisor.profiler import notes
from pretune.advisor.profiler.samples import nothing
from pretune.advisor.profiler.telemetry import RECORD
from pretune.advisor.trials import routing
from pretune.advisor.trials.bench import Bench
from pretune.advisor.trials.routing import Routing
from pretune.advisor.workspace.directory import Workspace
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

ITEM, HOME = "/item/<int:number>", "/"


@pytest.mark.parametrize(
    ("route", "path", "fits"),
    [
        ("/item/<int:pk>/", "/item/17/", True),
        ("/item/<int:pk>/", "/item/17/edit/", False),
        ("/item/{id}", "/item/17", True),
        ("/files/{name:path}", "/files/a/b.txt", True),
        ("/files/<path:name>", "/files/a/b.txt", True),
        ("/a.b/<x>", "/aXb/1", False),
        (r"/(?P<year>\d{4})/", "/2024/", True),
        (r"/(?P<year>\d{4})/", "/now/", False),
    ],
)
def test_a_route_says_which_paths_it_takes(route, path, fits):
    assert bool(routing.pattern(route).fullmatch(path)) is fits


def test_paths_of_one_route_are_one_endpoint_and_names_stay():
    known = Routing({"/item/1": ITEM, "/": HOME})
    names = ("/item/1", "/", "/item/[dear]", "/item/2?full=1", "/elsewhere", "/item/3")
    raw = (True, True, False, True, True, True)
    labels, numbers = known.numbers(names, raw)
    assert labels == (ITEM, HOME, "/item/[dear]", "/elsewhere")
    assert numbers.tolist() == [0, 1, 2, 3, 1, 4, 1]
    _, before = known.numbers(names[:3], raw[:3])
    assert before.tolist() == numbers[:4].tolist()


def served(*requests):
    """Samples of requests: (endpoint as the driver numbered it, number of the route)."""
    records = np.zeros(len(requests), RECORD)
    records["pid"] = 7
    records["endpoint"], records["route"] = np.array(requests).T
    found = notes.Notes(
        samples=np.array([(0.0, 2, 0, 0, 0, 0)], notes.SAMPLE),
        outbound=np.zeros(0, notes.OUTBOUND),
        lags=np.zeros(0, notes.LAG),
        blocks=np.zeros(0, notes.BLOCK),
        cost=np.zeros(0, notes.COST),
        numbers=np.array([(7, 1, 1), (7, 2, 2)], notes.NUMBER),
        places=(),
        routes=("", ITEM, HOME),
        hosts=(),
    )
    return replace(nothing(1), telemetry=records, notes=found)


def test_what_took_several_routes_or_none_keeps_its_path():
    samples = served((1, 1), (2, 1), (2, 1), (3, 1), (3, 2), (4, 0))
    names = ("/item/1", "/item/2", "/sometimes", "/nowhere", "/unseen")
    learned = routing.learn(names, (True,) * 5, samples)
    assert learned.routes == {"/item/1": ITEM, "/item/2": ITEM}
    assert routing.learn(names, (True,) * 5, replace(samples, notes=None)).routes == {}


def test_records_and_notes_are_numbered_alike():
    samples = served((1, 1), (2, 1), (3, 2), (9, 1))
    found = routing.samples_numbered(samples, np.array([0, 1, 1, 2], np.uint32))
    assert found.telemetry["endpoint"].tolist() == [1, 1, 2, 0]
    assert found.notes.samples["endpoint"].tolist() == [1]
    assert samples.telemetry["endpoint"].tolist() == [1, 2, 3, 9]


APP = """
from flask import Flask
app = Flask(__name__)

@app.get("/item/<int:number>")
def item(number):
    return "x" * number

@app.get("/")
def home():
    return "home"
"""
LOCUSTFILE = """
import itertools
from locust import FastHttpUser, task

class Visitor(FastHttpUser):
    numbers = itertools.count(1)

    @task
    def visit(self):
        self.client.get(f"/item/{next(self.numbers) % 50}")
        self.client.get("/")
        self.client.get("/item/3", name="the third")
"""


def test_a_locustfile_without_names_is_reported_by_route(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "locustfile.py").write_text(LOCUSTFILE)
    out = tmp_path / "out"
    location = locate(
        "app:app", cwd=tmp_path, chdir=tmp_path, python=Path(sys.executable), environ=os.environ
    )
    flags = {"workload": str(tmp_path / "locustfile.py"), "out": str(out)}
    workspace = Workspace(out)
    try:
        known = preflight.run(resolve(flags, location, tmp_path, os.environ), workspace, Quiet())
        bench = Bench(workspace, known, Quiet())
        try:
            settings = Settings(workers=1, threads=1)
            first = bench.run("demand", settings, Load(1, 1.5), probes=True)
            later = bench.run("contrast", settings, Load(2, 1.0))
        finally:
            bench.close()
    finally:
        workspace.close()
    names = [ITEM, HOME, "the third"]
    for trial in (first, later):
        assert [e.name for e in trial.by_endpoint] == names
        assert set(trial.telemetry["endpoint"]) == {1, 2, 3}
        counts = [e.requests for e in trial.by_endpoint]
        assert max(counts) - min(counts) <= 2 * trial.load.users
    assert [e.name for e in bench.workload.endpoints] == names
