"""Values as JSON has them: a dataclass becomes an object with a key for each of its fields.

``SHAPES`` names all that a document leaves out, calls by another name, states in another unit or
adds; what it does not name is written as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from pretune.advisor.demand.breakdown import Breakdown, Host
from pretune.advisor.demand.values import Demand
from pretune.advisor.deployed.value import Deployed, Setting
from pretune.advisor.model.bounds import Limit
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.shown import Shown
from pretune.advisor.preflight.target import Target
from pretune.advisor.profiler.measurement import (
    EndpointMeasurement,
    Latency,
    Measurement,
    MemorySeries,
)
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation.fleet import Database, Fleet
from pretune.advisor.recommendation.today import Today
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.resources.postgres import PostgresLimits
from pretune.advisor.reverse_proxy.checks import LARGE_UPLOAD_BYTES, SLOW_S
from pretune.advisor.reverse_proxy.values import Checks, Comparison, Fronted
from pretune.advisor.run import Headline, Row
from pretune.loadtests.workload import Endpoint, Skipped, Workload

Writer = Callable[[Any], Any]


@dataclass(frozen=True)
class Shape:
    """The differences between an object and the fields of its class.

    ``omitted``: fields that no document has. ``elsewhere``: those that have another place in it.
    ``written``: field -> its key, and what writes its value. ``added``: key -> its value, from the
    whole. ``first`` and ``last``: keys that do not stand in the order of the fields.
    """

    omitted: frozenset[str] = frozenset()
    elsewhere: frozenset[str] = frozenset()
    written: Mapping[str, tuple[str, Writer]] = field(default_factory=dict)
    added: Mapping[str, Writer] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()


def plain(value: Any) -> Any:
    """``value`` in JSON's own types. Unknown numbers (NaN, infinite) become None; of what JSON has
    no type for, paths for one, the text is written."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Interval):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return _object(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value)


def _object(value: Any) -> dict[str, Any]:
    shape = SHAPES.get(type(value), _AS_IT_IS)
    document = {}
    for each in fields(value):
        if each.name not in shape.omitted | shape.elsewhere:
            key, write = shape.written.get(each.name, (each.name, plain))
            document[key] = write(getattr(value, each.name))
    document |= {key: plain(make(value)) for key, make in shape.added.items()}
    return move(document, shape.first, shape.last)


def move(
    document: Mapping[str, Any], first: Iterable[str] = (), last: Iterable[str] = ()
) -> dict[str, Any]:
    """``document`` with those keys at its ends."""
    ends = {*first, *last}
    order = (*first, *(key for key in document if key not in ends), *last)
    return {key: document[key] for key in order}


def milliseconds(seconds: Latency | float | None) -> Any:
    if seconds is None:
        return None
    return plain(seconds.scaled(1e3) if isinstance(seconds, Latency) else seconds * 1e3)


def milliseconds_of(seconds: Interval) -> Any:
    return plain(seconds.scaled(1e3))


def mapping(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """One key for each pair."""
    return {key: plain(value) for key, value in pairs}


def _errors(pairs: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"what": what, "count": count} for what, count in pairs]


def _write_settings(settings: Mapping[str, Setting]) -> list[dict[str, Any]]:
    return [{"setting": name, **plain(each)} for name, each in settings.items()]


def _error_rate(error_rate: float) -> float:
    """Without any request no part of them failed."""
    return plain(error_rate) or 0.0


_AS_IT_IS = Shape()
_LATENCY_MS = {"latency": ("latency_ms", milliseconds)}
SHAPES: Mapping[type, Shape] = {
    Budget: Shape(
        omitted=frozenset({"any_number"}),
        written={"sources": ("sources", mapping)},
        first=("ram_bytes", "cores", "cpu_factor"),
    ),
    Checks: Shape(
        added={"upload_bytes": lambda _: LARGE_UPLOAD_BYTES, "slow_s": lambda _: SLOW_S},
        last=("rows",),
    ),
    Comparison: Shape(added={"better": lambda row: row.better}),
    Database: Shape(added={"pooler": lambda of: of.pooler, "enough": lambda of: of.enough}),
    Demand: Shape(
        # what the model draws from; the other servers' costs stand beside the demand
        omitted=frozenset({"tuples", "shares", "wake_cpu_s", "tail_cpu_s", "served_by", "costs"}),
    ),
    Deployed: Shape(
        omitted=frozenset({"develops"}), written={"settings": ("said", _write_settings)}
    ),
    Endpoint: Shape(written={"headers": ("headers", mapping)}, first=("name", "share")),
    EndpointMeasurement: Shape(written=_LATENCY_MS),
    Fleet: Shape(added={"carries": lambda fleet: fleet.carries}, last=("database",)),
    Fronted: Shape(omitted=frozenset({"keeps"}), written={"config": ("told", plain)}),
    Host: Shape(written={"name": ("host", plain)}),
    Breakdown: Shape(elsewhere=frozenset({"endpoints"})),  # each beside its endpoint's demand
    Limit: Shape(omitted=frozenset({"reason"}), written={"parts": ("parts_s", mapping)}),
    Measurement: Shape(
        # a role's trial is known by its name, the verification has its further load by itself
        omitted=frozenset({"role", "telemetry", "notes", "further"}),
        elsewhere=frozenset({"memory_series"}),  # under "series", for the charts
        written={
            **_LATENCY_MS,
            "error_rate": ("error_rate", _error_rate),
            "error_interval": ("error_rate_interval", plain),
            "errors": ("errors", _errors),
            "worker_exits": ("worker_exits", mapping),
            "late_s_p99": ("late_ms_p99", milliseconds),
        },
    ),
    MemorySeries: Shape(omitted=frozenset({"anon_bytes", "settled"})),
    PostgresLimits: Shape(omitted=frozenset({"host"}), first=("version", "local")),
    Prediction: Shape(
        # by which arrangements are compared
        omitted=frozenset({"draws", "may_bind"}),
        written={
            **_LATENCY_MS,
            "utilisation": ("utilisation", mapping),
            "ram_parts": ("ram_parts_bytes", mapping),
        },
    ),
    Recommendation: Shape(
        written={
            name: (name, mapping) for name in ("headroom", "reasons", "impossible", "evidence")
        }
    ),
    Row: Shape(omitted=frozenset({"sentence"})),  # the misses say it
    Headline: Shape(written={"p95_s": ("p95_ms", milliseconds_of)}),
    Shown: Shape(written={"p95_s": ("p95_ms", milliseconds_of)}),
    Skipped: Shape(omitted=frozenset({"broken"})),
    Slo: Shape(written={"p95_s": ("p95_ms", milliseconds)}),
    Target: Shape(omitted=frozenset({"spec"})),  # the run has the same
    Today: Shape(elsewhere=frozenset({"deployed"})),  # in the same object
    Workload: Shape(
        omitted=frozenset({"locustfile"}),
        written={"headers": ("headers", mapping)},
        first=("source", "assumption", "endpoints", "skipped"),
    ),
}
