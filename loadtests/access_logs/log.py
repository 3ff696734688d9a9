"""An access log, read: how much traffic there was, when, and of what."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pretune.loadtests.access_logs.blocks import read_blocks
from pretune.loadtests.access_logs.formats import KNOWN, LogFormat, compile_format, recognise
from pretune.loadtests.access_logs.tally import BOTS, Minute, Tally

LOOK = 200  # lines by which a format is recognised
FEWEST = 100  # requests of which a mix says anything


@dataclass(frozen=True)
class Rates:
    """Rates of the requests, and their times: ``begin`` and ``end`` in seconds since 1970,
    ``peak_minute`` and ``peak_hour`` the beginning of the busiest. ``dispersion``: variance over
    mean of the requests in one second, within minutes; 1 is what independent users make, more comes
    in bursts.
    """

    begin: int
    end: int
    mean_rps: float
    peak_rps: float
    peak_minute: int
    peak_hour: int
    peak_hour_rps: float
    dispersion: float


@dataclass(frozen=True)
class AccessLog:
    """Files of one log, as counted. ``rates`` None where the lines say no time."""

    name: str
    format: str
    tally: Tally
    rates: Rates | None

    @property
    def bots(self) -> float | None:
        """The share of requests by programs that say so; None where the lines name no agent."""
        known = self.tally.agents.total()
        if not known:
            return None
        return sum(n for agent, n in self.tally.agents.items() if BOTS.search(agent)) / known


def read_log(path: Path, format_text: str | None = None) -> AccessLog:
    """Read a log: a file, plain or gz, a folder of them, or a pattern such as ``access.log*``.

    ``format_text`` in the language of nginx, Apache, gunicorn or uWSGI; None: a known one is
    recognised. Raises ValueError with a sentence that names the file, the line and what to do.
    """
    files = _files(path)
    log_format = compile_format(format_text) if format_text else _recognise(files)
    tally = Tally()
    tally.read(files, log_format)
    if tally.requests * 2 < tally.lines or not tally.requests:
        raise ValueError(_explain_unread(files, log_format, tally))
    if sum(tally.targets.values()) < FEWEST:
        raise ValueError(
            f"{path} holds {tally.requests} requests; a mix needs {FEWEST}, and better thousands"
        )
    return AccessLog(path.name, log_format.name, tally, summarise(tally.minutes))


def _files(path: Path) -> list[Path]:
    """The files meant, the oldest first."""
    if path.is_dir():
        found = [each for each in path.iterdir() if each.is_file()]
    elif path.exists():
        found = [path]
    else:
        found = [Path(each) for each in glob.glob(str(path)) if Path(each).is_file()]
    if not found:
        raise ValueError(f"there is no log {path}")
    return sorted(found, key=lambda each: (each.stat().st_mtime, each.name))


def _first_lines(path: Path) -> list[bytes]:
    lines: list[bytes] = []
    for block in read_blocks(path):
        lines += block.splitlines()
        if len(lines) >= LOOK:
            break
    return lines[:LOOK]


def _recognise(files: Sequence[Path]) -> LogFormat:
    for path in files:
        lines = _first_lines(path)
        found = recognise(lines)
        if found is not None:
            return found
        if any(line.strip() for line in lines):
            known = ", ".join(each.name for each in KNOWN)
            raise ValueError(
                f"{path}:1: neither a .toml workload, a locustfile (.py) nor an access log of a "
                f"known format ({known}); name the log_format of your server with --log-format"
            )
    raise ValueError(f"{files[0]} is empty")


def _explain_unread(files: Sequence[Path], log_format: LogFormat, tally: Tally) -> str:
    text = (
        f"only {tally.requests} of {tally.lines} lines are of the format {log_format.name}; "
        "name the log_format of your server with --log-format"
    )
    for path in files:
        for number, line in enumerate(_first_lines(path), start=1):
            if line.strip() and not log_format.read(line + b"\n"):
                return f"{path}:{number}: {text}"
    return f"{files[0]}: {text}"


def summarise(minutes: dict[int, Minute]) -> Rates | None:
    """Rates of a log by its minutes, None where there are none."""
    if not minutes:
        return None
    hours: Counter[int] = Counter()
    for minute, each in minutes.items():
        hours[minute // 60] += each.requests
    peak = max(minutes, key=lambda minute: minutes[minute].requests)
    hour, of_hour = max(hours.items(), key=lambda item: item[1])
    begin, end = min(minutes) * 60, (max(minutes) + 1) * 60
    total = sum(each.requests for each in minutes.values())
    within = sum(each.squares - each.requests**2 / 60 for each in minutes.values())
    in_hour = [minute for minute in minutes if minute // 60 == hour]
    span_s = 60 * (max(in_hour) - min(in_hour) + 1)
    return Rates(
        begin=begin,
        end=end,
        mean_rps=total / (end - begin),
        peak_rps=minutes[peak].requests / 60,
        peak_minute=peak * 60,
        peak_hour=hour * 3600,
        peak_hour_rps=of_hour / span_s,
        dispersion=within / total,
    )


def format_moment(second: int) -> str:
    """``2026-11-30 10:14``, UTC."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M")
