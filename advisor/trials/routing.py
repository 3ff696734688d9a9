"""Requests of a locustfile put together by the route that the app took.

``self.client.get(f"/item/{n}")`` without a name of its own gives every item one: hundreds of
endpoints of a few requests each, of which nothing can be said. The probes know which route the
app's own framework chose (``server.probes.routed``); raw paths that took the same one are one
endpoint, called like it. What the user named himself stays as he named it.

Learned in the trial with probes. A path first sent in a later trial belongs to the learned route
whose pattern it fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from pretune.loadtests.workload import Endpoint, Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.profiler.samples import Samples

# A path took a route when so large a part of its requests did: a few may have failed before it.
SURELY = 0.9
CHANCE = 4.0  # standard deviations
_PARAMETER = re.compile(r"<[^>]*>|\{[^}]*\}")


@dataclass(frozen=True)
class Routing:
    """``routes``: raw name -> the route its requests took."""

    routes: Mapping[str, str] = field(default_factory=dict)

    def label(self, name: str, raw: bool) -> str:
        """Name an endpoint; ``raw``: the user gave it no name."""
        if not raw:
            return name
        if name in self.routes:
            return self.routes[name]
        path = urlsplit(name).path
        fitting = (r for r in dict.fromkeys(self.routes.values()) if pattern(r).fullmatch(path))
        return next(fitting, name)

    def numbers(
        self, names: Sequence[str], raw: Sequence[bool]
    ) -> tuple[tuple[str, ...], NDArray[np.uint32]]:
        """The labels, number 1 first, and which number each of the driver's becomes; 0 stays 0.

        Labels keep the order in which they turn up, so a longer list changes no earlier number.
        """
        labels = [self.label(name, own) for name, own in zip(names, raw, strict=True)]
        number = {label: n for n, label in enumerate(dict.fromkeys(labels), start=1)}
        return tuple(number), np.array([0, *(number[x] for x in labels)], np.uint32)


def learn(names: Sequence[str], raw: Sequence[bool], samples: Samples) -> Routing:
    """From a trial with probes; nothing from one without."""
    notes, records = samples.notes, samples.telemetry
    if notes is None:
        return Routing()
    route = notes.routes_of(records)
    routes = {}
    for number, (name, own) in enumerate(zip(names, raw, strict=True), start=1):
        took = route[records["endpoint"] == number]
        if not own or not len(took):
            continue
        most = int(np.bincount(took).argmax())
        if most and np.mean(took == most) >= SURELY:
            routes[name] = notes.routes[most]
    return Routing(routes)


def pattern(route: str) -> re.Pattern[str]:
    """Compile the expression of a route's paths. Django's ``re_path`` gives its own."""
    if "(?P<" in route:
        try:
            return re.compile(route)
        except re.error:
            return re.compile(re.escape(route))
    text, at = "", 0
    for match in _PARAMETER.finditer(route):
        several = "path" in match[0].replace("{", "<").strip("<>}").split(":")
        text += re.escape(route[at : match.start()]) + (".+" if several else "[^/]+")
        at = match.end()
    return re.compile(text + re.escape(route[at:]))


def samples_numbered(samples: Samples, numbers: NDArray[np.uint32]) -> Samples:
    """With every endpoint's number replaced; what has an unknown number belongs to none."""
    notes = samples.notes
    if notes is not None:
        notes = replace(
            notes,
            samples=numbered(notes.samples, numbers),
            outbound=numbered(notes.outbound, numbers),
            blocks=numbered(notes.blocks, numbers),
        )
    return replace(samples, telemetry=numbered(samples.telemetry, numbers), notes=notes)


def numbered(rows: NDArray[np.void], numbers: NDArray[np.uint32]) -> NDArray[np.void]:
    """Rows with an ``endpoint``: of the ring, of the driver, of notes."""
    rows = rows.copy()
    in_workload = rows["endpoint"] < len(numbers)
    rows["endpoint"] = numbers[np.where(in_workload, rows["endpoint"], 0)]
    return rows


def name_endpoints(
    workload: Workload, names: Sequence[str], numbers: NDArray[np.uint32]
) -> Workload:
    """A locustfile's endpoints, known once it has run: names as it gave them, shares as the first
    trial sent them. The driver keeps that mix in the others, so what turns up later has none."""
    if workload.endpoints:
        later = names[len(workload.endpoints) :]
        return replace(
            workload, endpoints=(*workload.endpoints, *(Endpoint(name, (), 0.0) for name in later))
        )
    counts = [int((numbers == number).sum()) for number in range(1, len(names) + 1)]
    total = max(1, sum(counts))
    return replace(
        workload,
        endpoints=tuple(
            Endpoint(name, (), count / total) for name, count in zip(names, counts, strict=True)
        ),
    )


# A trial whose shares are further from the workload's has sent another mix.
MIX_POINTS = 0.01


def describe_other_mix(name: str, workload: Workload, numbers: NDArray[np.uint32]) -> str:
    """Say that a trial sent another mix than the workload's, by more than chance; "" where not."""
    count = len(numbers)
    for number, endpoint in enumerate(workload.endpoints, start=1):
        part, share = np.count_nonzero(numbers == number) / max(1, count), endpoint.share
        chance = CHANCE * (max(share * (1 - share), 1 / max(1, count)) / max(1, count)) ** 0.5
        if abs(part - share) > MIX_POINTS + chance:
            return (
                f"the trial {name} had {part:.0%} of its requests on {endpoint.name}, where the "
                f"workload has {share:.0%}: the locustfile sends what its own code decides, so the "
                "answer is for a mix that it did not keep"
            )
    return ""
