"""Notes of the probes in a trial's workers, beside their rings; see ``server.probes.journal``.

Numbers of places, routes and hosts are each worker's own in the files; here they index the tuples
of all workers together. A line that is cut off or makes no sense is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.server.probes.account import KINDS
from pretune.server.probes.user_frames import UserFrame

if TYPE_CHECKING:
    from numpy.typing import NDArray

# One look at one request. kind: index into KINDS; held: the event loop was held by it.
SAMPLE = np.dtype(
    [
        ("time", "<f8"),
        ("endpoint", "<u4"),
        ("route", "<u4"),
        ("kind", "u1"),
        ("held", "u1"),
        ("place", "<u4"),
    ]
)
# The outbound calls of one request to one host; time: when the request ended.
OUTBOUND = np.dtype(
    [
        ("time", "<f8"),
        ("endpoint", "<u4"),
        ("route", "<u4"),
        ("host", "<u4"),
        ("calls", "<u4"),
        ("wait_s", "<f8"),
    ]
)
LAG = np.dtype([("time", "<f8"), ("lag_s", "<f8")])
BLOCK = np.dtype([("time", "<f8"), ("length_s", "<f8"), ("endpoint", "<u4"), ("place", "<u4")])
# Counts up: CPU of the thread that looks, its looks, those that came too late to count.
COST = np.dtype(
    [("time", "<f8"), ("pid", "<i4"), ("cpu_s", "<f8"), ("looks", "<u4"), ("late", "<u4")]
)
# What a worker calls a route in its records.
NUMBER = np.dtype([("pid", "<u4"), ("number", "<u2"), ("route", "<u4")])

_ARRAYS = {
    "samples": SAMPLE,
    "outbound": OUTBOUND,
    "lags": LAG,
    "blocks": BLOCK,
    "cost": COST,
    "numbers": NUMBER,
}
_TIMED = ("samples", "lags", "blocks")
_LONGEST = 300  # characters of a name


@dataclass(frozen=True)
class Notes:
    """``routes[0]`` is "": unknown."""

    samples: NDArray[np.void]
    outbound: NDArray[np.void]
    lags: NDArray[np.void]
    blocks: NDArray[np.void]
    cost: NDArray[np.void]
    numbers: NDArray[np.void]
    places: tuple[UserFrame, ...]
    routes: tuple[str, ...]
    hosts: tuple[str, ...]

    def within(self, start: float, end: float) -> Notes:
        """Those of a window; names, and what only differences of mean something, stay.

        So do outbound calls: a request that began in the window may end after it.
        """
        arrays = {}
        for name in _TIMED:
            rows = getattr(self, name)
            arrays[name] = rows[(rows["time"] >= start) & (rows["time"] < end)]
        return replace(self, **arrays)

    @property
    def late_fraction(self) -> float:
        """The share of looks that came late."""
        if not len(self.cost):
            return 0.0
        return float(self.cost["late"].max() / max(self.cost["looks"].max(), 1))

    def routes_of(self, records: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the route of each record of the ring, as an index into ``routes``."""
        routes = np.zeros(len(records), np.int64)
        for pid, number, route in self.numbers.tolist():
            routes[(records["pid"] == pid) & (records["route"] == number)] = route
        return routes

    def cpu_s(self, pid: int, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """CPU a worker's thread that looks had spent by the wanted times."""
        mine = self.cost[self.cost["pid"] == pid]
        if not len(mine):
            return np.zeros(len(wanted))
        spent: NDArray[np.float64] = np.interp(wanted, mine["time"], mine["cpu_s"], left=0.0)
        return spent

    def arrays(self) -> dict[str, NDArray[np.void]]:
        """For a file, with ``names``."""
        return {f"notes_{name}": getattr(self, name) for name in _ARRAYS}

    def names(self) -> dict[str, Any]:
        return {"places": self.places, "routes": self.routes, "hosts": self.hosts}

    @classmethod
    def from_arrays(cls, arrays: Any, names: dict[str, Any]) -> Notes:
        """Rebuild the notes that ``arrays`` and ``names`` gave. Raises KeyError, TypeError."""
        return cls(
            **{name: arrays[f"notes_{name}"] for name in _ARRAYS},
            places=tuple(UserFrame(*place) for place in names["places"]),
            routes=tuple(names["routes"]),
            hosts=tuple(names["hosts"]),
        )


class _Names(dict[Any, int]):
    """Numbers things as they come."""

    def __missing__(self, key: Any) -> int:
        number = self[key] = len(self)
        return number


def read(directory: Path) -> Notes | None:
    """All workers' notes together; None when none was written."""
    paths = sorted(directory.glob("*.notes"))
    if not paths:
        return None
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _ARRAYS}
    places, routes, hosts = _Names(), _Names({"": 0}), _Names()
    for path in paths:
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        _read_one(int(path.stem), _lines(text), rows, places, routes, hosts)
    return Notes(
        **{name: np.array(rows[name], dtype) for name, dtype in _ARRAYS.items()},
        places=tuple(places),
        routes=tuple(routes),
        hosts=tuple(hosts),
    )


def _lines(text: str) -> Iterable[list[Any]]:
    for line in text.splitlines():
        try:
            note = json.loads(line)
        except ValueError:
            continue
        if isinstance(note, list) and note:
            yield note


def _read_one(
    pid: int,
    notes: Iterable[list[Any]],
    rows: dict[str, list[tuple[Any, ...]]],
    places: _Names,
    routes: _Names,
    hosts: _Names,
) -> None:
    place_of: dict[int, int] = {}
    route_of: dict[int, int] = {0: 0}
    samples: list[tuple[Any, ...]] = []
    outbound: list[tuple[Any, ...]] = []
    for kind, *values in notes:
        try:
            if kind == "sample":
                at, endpoint, route, doing, held, place = values
                if not 0 <= doing < len(KINDS):
                    continue
                samples.append((at, endpoint, route, doing, held, place_of[place]))
            elif kind == "out":
                at, endpoint, route, host, calls, waited = values
                number = hosts[str(host)[:_LONGEST]]
                outbound.append((at, endpoint, route, number, calls, waited))
            elif kind == "lag":
                rows["lags"].append(tuple(values))
            elif kind == "block":
                at, length, endpoint, place = values
                rows["blocks"].append((at, length, endpoint, place_of[place]))
            elif kind == "cost":
                at, spent, looks, late = values
                rows["cost"].append((at, pid, spent, looks, late))
            elif kind == "place":
                number, file, line, function, own = values
                shown = str(file)[-_LONGEST:], int(line), str(function)[:_LONGEST], bool(own)
                place_of[number] = places[UserFrame(*shown)]
            elif kind == "route":
                number, pattern = values
                route_of[number] = routes[str(pattern)[:_LONGEST]]
                rows["numbers"].append((pid, number, route_of[number]))
        except (KeyError, TypeError, ValueError):
            continue
    # A route's name is written after the first request that took it may have been.
    for name, lines in (("samples", samples), ("outbound", outbound)):
        rows[name] += [(at, end, route_of.get(route, 0), *more) for at, end, route, *more in lines]
