"""What is advised is what is written, on the server it is written for.

Each setting of the report stands in the file to deploy, or is named there as impossible on its
server, with what follows. There is no third case.

The files are read back as today's deployment is, whose tables are held against the servers' own
parsers in tests/advisor/deployed.
"""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pretune.advisor.deployed import arguments, uwsgi_ini
from pretune.advisor.deployed.grammar import GRAMMARS
from pretune.advisor.deployed.shell import Surroundings, Word
from pretune.reports import deployment, setting
from pretune.server.adapters import catalogue
from pretune.server.adapters.server import FieldServer
from pretune.server.settings import WORKER_CLASSES, Settings

Load = Callable[[str], dict[str, Any]]
# what a server does that has no such setting
ABSENT = {
    "workers": 1, "timeout": 0, "max_requests": 0, "max_requests_jitter": 0, "preload_app": False,
}  # fmt: skip
SERVERS = [server.name for server in catalogue.every()]


def combinations(server: str) -> Iterator[Settings]:
    for kind in catalogue.find(server).classes:
        threads = (1, 4) if kind == "gthread" else (1,)
        grid = itertools.product((1, 4), threads, (0, 44_000), (False, True), (0, 100, 2_046))
        for workers, count, limit, preload, jitter in grid:
            for seconds in (0.0, 31.0):
                yield Settings(
                    workers, count, kind,
                    timeout=seconds, graceful_timeout=seconds, keepalive=seconds,
                    max_requests=limit, max_requests_jitter=jitter if limit else 0,
                    preload_app=preload, backlog=64 if seconds else 2048,
                    worker_connections=700,
                )  # fmt: skip


def advised(load: Load, server: str, settings: Settings) -> dict[str, Any]:
    document = {**load("fits"), "trials": [], "series": {}, "candidates": [], "baselines": []}
    # of another server: what was verified on says nothing of what is advised
    document["verification"]["server"] = "gunicorn 27.0.1"
    document["recommendation"].update({"server": server, "settings": settings.to_json()})
    return document


def read_back(server: str, text: str, name: str) -> dict[str, Any]:
    """Setting -> what the server makes of the file, its defaults included."""
    if name == "gunicorn.conf.py":
        values: dict[str, Any] = {}
        exec(compile(text, name, "exec"), values)
        return values
    grammar = GRAMMARS[server]
    if name == "uwsgi.ini":
        said = uwsgi_ini.parse(name, text, Surroundings())
    else:
        (line,) = [line for line in text.splitlines() if line.startswith("exec ")]
        words = [Word.from_marked(word) for word in shlex.split(line)[2:]]
        said = arguments.parse(grammar, words, lambda flag: flag)
    assert said.unknown == ()
    found = {**grammar.defaults, **{key: each.value for key, each in said.settings.items()}}
    if server == "uwsgi":  # the delta times the worker's number
        found["max_requests_jitter"] *= found["workers"]
    return found


def worker_class_of(server: str, text: str, values: dict[str, Any], interface: str) -> str:
    """The class that the file makes it run: named there, else the only one of the interface."""
    if "worker_class" in values:
        return str(values["worker_class"])
    if server == "granian":
        assert f"--interface {interface}" in text
    (only,) = [k for k in catalogue.find(server).classes if WORKER_CLASSES[k] == interface]
    return only


def comments(text: str) -> str:
    return " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))


@pytest.mark.parametrize("somaxconn", [128, 4096])
@pytest.mark.parametrize("server", SERVERS)
def test_each_setting_is_written_or_named_as_impossible(
    load: Load, server: str, somaxconn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "_somaxconn", lambda: somaxconn)
    row = catalogue.find(server)
    document = advised(load, server, Settings())
    for settings in combinations(server):
        document["recommendation"]["settings"] = settings.to_json()
        found = deployment.choose(document)
        values = read_back(server, found.text, found.name)
        kind = worker_class_of(server, found.text, values, settings.interface)
        assert kind == settings.worker_class
        impossible, said = row.impossible(settings), comments(found.text)
        for name, wanted in setting.select_effective(settings.to_json()):
            if name == "worker_class":
                continue
            if name in impossible:
                assert impossible[name].rstrip(".") in said, (name, settings)
            else:
                assert values.get(name, ABSENT.get(name)) == wanted, (name, settings)


@pytest.mark.parametrize("server", SERVERS)
def test_what_a_server_cannot_have_is_not_chosen(server: str) -> None:
    row = catalogue.find(server)
    for settings in combinations(server):
        chosen = row.attainable(settings)
        assert row.attainable(chosen) == chosen
        named = row.impossible(chosen)
        assert {"max_requests", "max_requests_jitter", "preload_app"}.isdisjoint(named), chosen
        assert chosen.max_requests == 0 or row.recycles(chosen.workers)
        # never more than was planned with
        most = settings.max_requests + settings.max_requests_jitter
        assert chosen.max_requests + chosen.max_requests_jitter <= most


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("server", list(catalogue.SERVERS))
def test_a_limit_is_given_where_the_server_replaces_the_worker(server: str, workers: int) -> None:
    row = catalogue.SERVERS[server]
    assert isinstance(row, FieldServer)
    meaning = row.settings["max_requests"]
    given = dict(row.options(Settings(workers, max_requests=1000)))
    assert (meaning.option in given and meaning.option != "") is row.recycles(workers)


def test_hypercorn_reads_the_limits_that_are_counted_with(load: Load) -> None:
    """Its parser gives max-requests to the jitter, so the two are given alike."""
    asked = Settings(4, 1, "asgi", max_requests=40_000, max_requests_jitter=4_000)
    settings = catalogue.HYPERCORN.attainable(asked)
    text = deployment.choose(advised(load, "hypercorn", settings)).text
    (line,) = [line for line in text.splitlines() if line.startswith("exec ")]
    program = (
        "import json, sys, hypercorn.__main__ as m\n"
        "m.run = lambda c: print(json.dumps([c.max_requests, c.max_requests_jitter])) or 0\n"
        "m.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, *shlex.split(line)[2:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == [settings.max_requests, settings.max_requests_jitter]
    assert sum(json.loads(done.stdout)) <= 44_000


def test_the_file_is_for_the_server_of_the_answer(load: Load) -> None:
    document = advised(load, "uvicorn", Settings(1, 1, "asgi"))
    document["verification"] = None
    assert deployment.choose(document).name == "start.sh"
    document["recommendation"]["server"] = "embedded"
    assert deployment.choose(document).name == "gunicorn.conf.py"
