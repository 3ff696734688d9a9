"""The settings that say something for a worker class, in reading order, as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretune.reports import numbers

# setting, the worker classes it means something for (empty: all)
_SETTINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("worker_class", ()),
    ("workers", ()),
    ("threads", ("gthread",)),
    ("worker_connections", ("gthread", "asgi")),
    ("timeout", ()),
    ("graceful_timeout", ()),
    ("keepalive", ("gthread", "asgi")),
    ("max_requests", ()),
    ("max_requests_jitter", ()),
    ("preload_app", ()),
    ("backlog", ()),
)
DURATIONS = frozenset({"timeout", "graceful_timeout", "keepalive"})


def select_effective(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(setting, value) of those that have an effect; jitter only with recycling."""
    worker_class = settings["worker_class"]
    return [
        (name, settings[name])
        for name, classes in _SETTINGS
        if name in settings
        and (not classes or worker_class in classes)
        and not (name == "max_requests_jitter" and not settings.get("max_requests"))
    ]


def format_value(name: str, value: Any) -> str:
    """``8 s``, ``41,000``, ``yes``, ``off``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in DURATIONS:
        return f"{numbers.digits(value)} s" if value else "off"
    if name == "max_requests" and not value:
        return "off"
    return f"{value:,}" if isinstance(value, int) else numbers.line(value)


def arrangement(settings: Mapping[str, Any]) -> str:
    """``5 workers x 4 threads``; without threads where a worker has none of its own."""
    workers = settings["workers"]
    text = f"{workers} worker{'s' if workers != 1 else ''}"
    if settings["worker_class"] == "gthread":
        threads = settings["threads"]
        return f"{text} x {threads} thread{'s' if threads != 1 else ''}"
    return f"{text} ({settings['worker_class']})"


def short(settings: Mapping[str, Any]) -> str:
    """``5 x 4`` (gthread), ``5 sync``, ``5 x 4 preload``: for a column."""
    preload = " preload" if settings.get("preload_app") else ""
    if settings["worker_class"] == "gthread":
        return f"{settings['workers']} x {settings['threads']}{preload}"
    return f"{settings['workers']} {settings['worker_class']}{preload}"
