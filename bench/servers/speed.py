"""Rounds in turn (A B C A B C ...), so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.servers import load
from bench.servers.contenders import AIMS, Contender
from bench.servers.load import Round
from bench.servers.process import NotServing, Server, start
from bench.servers.ratios import Estimate, paired

STEAL = 0.15  # of a core: above it a round is repeated, once, and then marked


@dataclass
class Rounds:
    """All rounds of one contender under one kind of headers, by number."""

    contender: Contender
    headers: str
    valid: dict[int, Round] = field(default_factory=dict)
    invalid: list[Round] = field(default_factory=list)
    disturbed: int = 0

    def median(self, name: str) -> float:
        values = [getattr(each, name) for each in self.valid.values()]
        return statistics.median(values) if values else float("nan")

    def series(self, name: str) -> dict[int, float]:
        return {number: getattr(each, name) for number, each in self.valid.items()}


Table = dict[tuple[str, str], Rounds]  # (contender, headers)


def run(
    contenders: Sequence[Contender],
    bin_: Path,
    *,
    headers: Sequence[str],
    rounds: int,
    seconds: int,
    server_core: int,
    core: int,
) -> tuple[Table, dict[str, str]]:
    """The table, and why somebody is not in it."""
    table: Table = {}
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        servers: list[Server] = []
        for contender in contenders:
            try:
                server = start(contender, bin_, core=server_core)
            except NotServing as error:
                absent[contender.name] = str(error)
                continue
            stack.callback(server.stop)
            servers.append(server)
        for server in servers:
            load.drive(server, 1, headers[0], core=core, server_core=server_core)  # warm-up
        for kind in headers:
            for number in range(rounds):
                for server in servers:
                    made = table.setdefault(
                        (server.contender.name, kind), Rounds(server.contender, kind)
                    )
                    _round(made, server, number, seconds, core=core, server_core=server_core)
    return table, absent


def _round(
    made: Rounds, server: Server, number: int, seconds: int, *, core: int, server_core: int
) -> None:
    one = load.drive(server, seconds, made.headers, core=core, server_core=server_core)
    if one.disturbed(STEAL) or not one.valid:
        made.invalid += [] if one.valid else [one]
        one = load.drive(server, seconds, made.headers, core=core, server_core=server_core)
    made.disturbed += one.disturbed(STEAL)
    if one.valid:
        made.valid[number] = one
    else:
        made.invalid.append(one)
    print(
        f"{made.headers:8}{number + 1:3} {server.contender.name:32}{one.rps:10.0f} /s "
        f"{one.cpu_us:8.1f} us  steal {one.steal:4.0%}  errors {one.errors}",
        file=sys.stderr,
    )


def faster(table: Table, ours: str, theirs: str, headers: str) -> dict[str, Estimate | None]:
    """How many times as fast: by requests/s, and by CPU per request."""
    a, b = table.get((ours, headers)), table.get((theirs, headers))
    if a is None or b is None:
        return {"rps": None, "cpu": None}
    return {
        "rps": paired(a.series("rps"), b.series("rps")),
        "cpu": paired(b.series("cpu_us"), a.series("cpu_us")),
    }


def to_json(
    table: Table, headers: Sequence[str], promises: Sequence[tuple[str, str, float]] = AIMS
) -> dict[str, Any]:
    def plain(ratios: dict[str, Estimate | None]) -> dict[str, Any]:
        return {key: value and value.to_json() for key, value in ratios.items()}

    rows = []
    for (name, kind), made in table.items():
        reference = made.contender.reference
        rows.append(
            {
                "server": name,
                "headers": kind,
                "rps": made.median("rps"),
                "cpu_us": made.median("cpu_us"),
                "reference": reference,
                "ratio": plain(faster(table, name, reference, kind)),
                "disturbed": made.disturbed,
                "invalid": [each.to_json() for each in made.invalid],
                "rounds": {str(n): each.to_json() for n, each in made.valid.items()},
            }
        )
    aims = [
        {"server": ours, "against": theirs, "headers": kind, "aim": aim, **plain(ratio)}
        for kind in headers
        for ours, theirs, aim in promises
        if (ratio := faster(table, ours, theirs, kind))["rps"] is not None
    ]
    return {"rows": rows, "aims": aims}
