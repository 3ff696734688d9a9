"""Moments at which requests came, as servers write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MONTHS = {  # not the calendar module's, which speaks the locale's language
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
    "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}  # fmt: skip
_CLF = re.compile(r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d)(?: ([+-]\d\d)(\d\d))?")
_CTIME = re.compile(r"\w{3} (\w{3}) +(\d+) (\d\d):(\d\d):(\d\d) (\d{4})")
_EPOCH = re.compile(r"\d{9,}(\.\d+)?")
_LATEST_S = 1e11  # as an epoch in seconds; more are milliseconds or finer


def parse_second(raw: bytes) -> int | None:
    """Seconds since 1970, UTC, or None. Without a zone the time is taken for UTC.

    Common Log Format, ISO 8601, ctime, and an epoch in seconds or finer.
    """
    text = raw.decode(errors="replace").strip()
    try:
        if match := _CLF.match(text):
            day, month, year, hour, minute, second, hours, minutes = match.groups()
            moment = _moment(year, month, day, hour, minute, second)
            zone = 0
            if hours:
                sign = -1 if hours[0] == "-" else 1
                zone = sign * (abs(int(hours)) * 3600 + int(minutes) * 60)
            return int(moment.timestamp()) - zone
        if _EPOCH.fullmatch(text):
            value = float(text)
            while value > _LATEST_S:
                value /= 1000
            return int(value)
        if match := _CTIME.match(text):
            month, day, hour, minute, second, year = match.groups()
            return int(_moment(year, month, day, hour, minute, second).timestamp())
        moment = datetime.fromisoformat(text)
    except (ValueError, KeyError, OverflowError):
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _moment(year: str, month: str, *rest: str) -> datetime:
    day, hour, minute, second = map(int, rest)
    return datetime(int(year), _MONTHS[month], day, hour, minute, second, tzinfo=UTC)
