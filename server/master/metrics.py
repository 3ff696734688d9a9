"""Renders what the server counts in the text format of Prometheus (version 0.0.4).

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pretune.server.process.scoreboard import (
    BOOTING,
    GENERATION,
    LEAVING,
    RELOADS,
    SERVING,
    STARTED,
    WANTED,
    Scoreboard,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STATES = {BOOTING: "booting", SERVING: "serving", LEAVING: "leaving"}

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Family:
    """One metric: its name, ``counter`` or ``gauge``, what it means, and its values by labels."""

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Labels, float]] = field(default=())


def text(families: Iterable[Family]) -> str:
    """The whole exposition; a family without samples is left out."""
    lines = []
    for family in families:
        if not family.samples:
            continue
        help_ = family.help.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {family.name} {help_}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [f"{family.name}{_labels(labels)} {_value(v)}" for labels, v in family.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _value(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def families(
    scoreboard: Scoreboard,
    now: float,
    started: float,
    queues: Sequence[tuple[str, int, int]],
    memory: Sequence[tuple[int, int]],
    version: str,
) -> list[Family]:
    """Everything there is to say.

    ``now`` monotonic s, ``started`` Unix s; ``queues``: address, length, limit; ``memory``: slot
    and PSS bytes.
    """
    seen = scoreboard.seen()
    requests, busy, errors = scoreboard.totals()
    states = [
        ((("state", name),), sum(1 for w in seen if w.state == state))
        for state, name in _STATES.items()
    ]
    build: Labels = (("python", platform.python_version()), ("version", version))
    plain: Labels = ()

    def one(name: str, kind: str, text: str, value: float) -> Family:
        return Family(f"pretune_{name}", kind, text, [(plain, value)])

    return [
        Family("pretune_build_info", "gauge", "Always 1; versions as labels.", [(build, 1.0)]),
        one("start_time_seconds", "gauge", "When the master started, in Unix time.", started),
        one("uptime_seconds", "gauge", "Since then.", now - scoreboard.value(STARTED)),
        Family("pretune_workers", "gauge", "Workers by state.", states),
        one("workers_wanted", "gauge", "Workers there should be.", scoreboard.value(WANTED)),
        one(
            "generation",
            "gauge",
            "Generation of the code that serves.",
            scoreboard.value(GENERATION),
        ),
        one("reloads_total", "counter", "Reloads that were begun.", scoreboard.value(RELOADS)),
        one("connections", "gauge", "Open connections.", sum(w.connections for w in seen)),
        one("threads", "gauge", "Threads that serve.", sum(w.threads for w in seen)),
        one("busy_threads", "gauge", "Threads inside a request.", sum(w.busy for w in seen)),
        one("requests_total", "counter", "Requests answered.", requests),
        one("responses_5xx_total", "counter", "Of these, with a status of 500 or more.", errors),
        one("busy_seconds_total", "counter", "Time inside requests, of all threads.", busy),
        Family(
            "pretune_worker_exits_total",
            "counter",
            "Workers that have ended, by reason.",
            [((("reason", reason),), count) for reason, count in scoreboard.exits().items()],
        ),
        Family(
            "pretune_accept_queue_length",
            "gauge",
            "Connections the kernel has accepted and no worker has taken yet.",
            [((("listener", name),), length) for name, length, _ in queues],
        ),
        Family(
            "pretune_accept_queue_limit",
            "gauge",
            "Connections that the kernel's queue holds at most.",
            [((("listener", name),), limit) for name, _, limit in queues],
        ),
        Family(
            "pretune_worker_pss_bytes",
            "gauge",
            "Memory of a worker: private, and its share of what is shared.",
            [((("worker", str(slot)),), size) for slot, size in memory],
        ),
    ]
