"""Counts of an access log, by targets, by seconds, by user agents.

Nothing of a single request is kept, and memory does not grow with the log: where an application
has so many paths that they differ by their numbers only, all but the first of them are counted
under it, and seconds become minutes with the sum and the sum of squares of what they held.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from pretune.loadtests.access_logs.blocks import read_blocks
from pretune.loadtests.access_logs.formats import LogFormat
from pretune.loadtests.access_logs.moments import parse_second

MOST_TARGETS = 100_000
MOST_SECONDS = 20_000
MOST_AGENTS = 20_000
ALIKE = 20  # paths that differ by numbers only; fewer are kept apart
_FINE = (b"200", b"304")
_DIGIT = re.compile(rb"\d")
_HEXADECIMAL = bytes.maketrans(b"123456789abcdef", b"0" * 15)
BOTS = re.compile(
    rb"bot\b|bot/|crawl|spider|slurp|facebookexternalhit|monitor|uptime|pingdom|kube-probe"
    rb"|healthcheck|curl/|python-requests|go-http-client|wget/",
    re.IGNORECASE,
)


@dataclass
class Minute:
    """Requests of one minute: their number, and the sum of squares of those of each second."""

    requests: int = 0
    squares: int = 0

    def add(self, of_a_second: int) -> None:
        self.requests += of_a_second
        self.squares += of_a_second**2


@dataclass
class Tally:
    """Counts of one log or of several, bytes as they stood there.

    ``others``: of (target, status) where the status was neither 200 nor 304.
    """

    lines: int = 0
    requests: int = 0
    too_long: int = 0
    targets: Counter[bytes] = field(default_factory=Counter)
    others: Counter[tuple[bytes, bytes]] = field(default_factory=Counter)
    agents: Counter[bytes] = field(default_factory=Counter)
    minutes: dict[int, Minute] = field(default_factory=dict)
    _alike: dict[bytes, bytes] = field(default_factory=dict)  # shape -> the path counted for it
    _seconds: Counter[bytes] = field(default_factory=Counter)

    @property
    def unread(self) -> int:
        """Lines that are not of the format."""
        return self.lines - self.requests

    def read(self, paths: Iterable[Path], log_format: LogFormat) -> None:
        """Count all lines of these files. Raises Unreadable."""
        with _no_collector():
            for path in paths:
                for block in read_blocks(path):
                    self._add(block, log_format)
        self._fold_seconds(0)

    def _add(self, block: bytes, log_format: LogFormat) -> None:
        if not block:
            self.lines += 1
            self.too_long += 1
            return
        rows = log_format.read(block)
        columns = log_format.columns
        self.lines += block.count(b"\n") + (not block.endswith(b"\n"))
        self.requests += len(rows)
        target, status = columns["target"], columns["status"]
        others = [(row[target], row[status]) for row in rows if row[status] not in _FINE]
        if self._alike:
            for each, count in Counter(map(itemgetter(target), rows)).items():
                self.targets[self._alike.get(_shape(each), each)] += count
            others = [(self._alike.get(_shape(each), each), code) for each, code in others]
        else:
            self.targets.update(map(itemgetter(target), rows))
        self.others.update(others)
        if "time" in columns:
            self._seconds.update(map(itemgetter(columns["time"]), rows))
        if "agent" in columns and len(self.agents) < MOST_AGENTS:
            self.agents.update(map(itemgetter(columns["agent"]), rows))
        if len(self.targets) > MOST_TARGETS:
            self._fold_targets()
        if len(self._seconds) > MOST_SECONDS:
            self._fold_seconds(MOST_SECONDS // 2)

    def _fold_targets(self) -> None:
        """Count paths that differ by their numbers only under one of them, from now on, where there
        are more than ALIKE; the rarest go where that does not help."""
        shapes = {each: _shape(each) for each in self.targets}
        many = Counter(shapes.values())
        for each, shape in shapes.items():
            if many[shape] > ALIKE:
                self._alike.setdefault(shape, each)
        folded: Counter[bytes] = Counter()
        for each, count in self.targets.items():
            folded[self._alike.get(shapes[each], each)] += count
        if len(folded) > MOST_TARGETS // 2:
            kept = Counter(dict(folded.most_common(MOST_TARGETS // 2)))
            kept[b""] += folded.total() - kept.total()
            folded = kept
        self.targets = folded
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for (each, status), count in self.others.items():
            key = self._alike.get(_shape(each), each)
            pairs[key if key in folded else b"", status] += count
        self.others = pairs

    def _fold_seconds(self, keep: int) -> None:
        """Make minutes of all seconds but the last ``keep`` of them, which may not be complete."""
        items = list(self._seconds.items())
        done = items[: len(items) - keep]
        whole: Counter[int] = Counter()
        for raw, count in done:
            second = parse_second(raw)
            if second is not None:
                whole[second] += count
        for second, count in whole.items():
            self.minutes.setdefault(second // 60, Minute()).add(count)
        self._seconds = Counter(dict(items[len(items) - keep :]))


def _shape(target: bytes) -> bytes:
    """The same for targets that differ by numbers or hexadecimal identifiers as long only."""
    return target.translate(_HEXADECIMAL) if _DIGIT.search(target) else target


@contextmanager
def _no_collector() -> Iterator[None]:
    """Rows are no cycles, and there are millions of them: the collector would look at each."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
