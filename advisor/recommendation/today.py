"""Today's deployment beside the recommendation: what it would carry here, and what it breaks. Pure.

The model is asked about it as about any other arrangement, on the server that the answer is for.
What it is not asked about is said: settings that are known only at run time, a worker class that it
does not know, more workers than it takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pretune.advisor.deployed.value import Deployed
from pretune.advisor.model.nearness import distance
from pretune.advisor.model.paired import Difference
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.quantity import format_bytes
from pretune.advisor.recommendation.space import MOST_WORKERS
from pretune.advisor.recommendation.values import Recommendation
from pretune.server.adapters import catalogue
from pretune.server.adapters.server import Recycling
from pretune.server.settings import WORKER_CLASSES, Settings

MOST_THREADS = 128


@dataclass(frozen=True)
class Today:
    """``settings`` None: the model is not asked, ``why`` says what is missing. ``on``: the server
    that it is predicted on."""

    deployed: Deployed
    settings: Settings | None = None
    why: str = ""
    on: str = ""
    predicted: Prediction | None = None
    violates: tuple[str, ...] = ()
    difference: Difference | None = None  # from what is recommended
    gain: str = ""  # of the answer over it, where that is not speed

    def place(self, name: str) -> str:
        """Return where a setting stands, else where the server is started."""
        setting = self.deployed.settings.get(name)
        return setting.place if setting is not None else self.deployed.where


def take_deployed(deployed: Deployed, interface: str, server: str) -> Today:
    """As the model takes it on ``server``, the one that the answer is for."""
    settings, why = _settings(deployed, interface, server)
    return Today(deployed, settings, why, server)


def _settings(deployed: Deployed, interface: str, server: str) -> tuple[Settings | None, str]:
    values: dict[str, Any] = {}
    for name, setting in deployed.settings.items():
        if setting.value is not None:
            values[name] = setting.value
        elif name in ("workers", "threads", "worker_class"):
            return None, f"{name}: {setting.place}"
    kind, why = _class(deployed, interface, values)
    if kind is None:
        return None, why
    classes = catalogue.find(server).classes
    if kind not in classes:
        others = [k for k in classes if WORKER_CLASSES.get(k) == interface]
        if kind not in ("sync", "gthread", "asgi") or not others:
            return None, f"the model does not know {kind} workers of {server}"
        kind = others[0]
    if kind == "asgi":
        values["threads"] = 1
    settings = Settings(**{**values, "worker_class": kind})
    if catalogue.find(server).recycling_of(settings.workers) is Recycling.NEVER:
        settings = replace(settings, max_requests=0, max_requests_jitter=0)
    for name, most in (("workers", MOST_WORKERS), ("threads", MOST_THREADS)):
        if not 1 <= getattr(settings, name) <= most:
            return None, (
                f"{getattr(settings, name)} {name} are more than the model covers ({most})"
            )
    return settings, ""


def _class(deployed: Deployed, interface: str, values: Mapping[str, Any]) -> tuple[str | None, str]:
    """The worker class that really runs, or why that cannot be said."""
    field = catalogue.SERVERS.get(deployed.server)
    if field is not None:
        if "worker_class" in values:  # greenlets
            return None, f"the model does not know {values['worker_class']} of {field.name}"
        kinds = [kind for kind in field.classes if WORKER_CLASSES[kind] == interface]
        if not kinds:
            return None, f"{field.name} does not serve {interface.upper()}"
        return kinds[0], ""
    kind = str(values.get("worker_class", "sync"))
    if kind == "auto":
        kind = "asgi" if interface == "asgi" else "sync"
    if kind == "sync" and values.get("threads", 1) > 1:
        kind = "gthread"  # as gunicorn does
    if WORKER_CLASSES.get(kind) != interface:
        return None, f"{kind} workers do not serve {interface.upper()}"
    return kind, ""


def describe_gain(today: Today, recommendation: Recommendation | None) -> str:
    """Say what the answer gains over a deployment that breaks nothing, where that is not speed; ""
    elsewhere."""
    theirs, difference = today.predicted, today.difference
    if recommendation is None or theirs is None or today.violates or today.settings is None:
        return ""
    mine, settings = recommendation.predicted, recommendation.settings
    if difference is None or difference.less or not math.isfinite(difference.change.low):
        return ""
    if distance(today.settings, settings) == 0:
        return "Workers and threads stay as they are: nothing that was tried is surely faster."
    gains = []
    ram = theirs.ram_bytes.value - mine.ram_bytes.value
    if ram >= 1 << 20:
        gains.append(f"{format_bytes(ram)} of RAM")
    connections = theirs.pg_connections - mine.pg_connections
    if connections > 0:
        gains.append(f"{connections} Postgres connection{'' if connections == 1 else 's'}")
    return (
        f"Nothing is surely gained in speed: today's arrangement "
        f"{difference.describe('the recommended one')}. What is gained: "
        f"{' and '.join(gains) or 'nothing'}."
    )


def with_today(recommendation: Recommendation | None, today: Today | None) -> Recommendation | None:
    """With what is deployed in each reason, where it differs."""
    if recommendation is None or today is None:
        return recommendation
    reasons = tuple(
        (name, _beside(name, getattr(recommendation.settings, name), sentence, today))
        for name, sentence in recommendation.reasons
    )
    return replace(recommendation, reasons=reasons)


def _beside(name: str, value: Any, sentence: str, today: Today) -> str:
    setting = today.deployed.settings.get(name)
    if setting is None:
        return sentence
    if setting.value is None:
        return f"today {setting.place}; {sentence}"
    was = setting.value
    if name == "worker_class" and today.settings is not None:
        was = today.settings.worker_class
    if was == value:
        return sentence
    return f"instead of {_shown(name, was)} ({setting.place}): {sentence}"


_TIMES = frozenset({"timeout", "graceful_timeout", "keepalive"})


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not value and (name in _TIMES or name == "max_requests"):
        return "off"
    return f"{value:g} s" if name in _TIMES else str(value)
