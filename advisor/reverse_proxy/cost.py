"""The cost of a reverse proxy in front of the server, and the configuration that goes with it.

It runs on the server's cores and in the server's memory, so both are in the budget. What it costs
is learned by contrast: a trial through it beside the same trial without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pretune.advisor.demand.server_costs import SCATTER
from pretune.advisor.demand.values import Demand
from pretune.advisor.preflight.reverse_proxy import Installed
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.advisor.reverse_proxy.values import FrontCost
from pretune.server.adapters import nginx_conf
from pretune.server.adapters.nginx_conf import Front
from pretune.server.settings import Settings

if TYPE_CHECKING:
    from pretune.advisor.profiler.measurement import Measurement

TRIAL = "front"
# A process of it is one thread: beyond this part of one core a second one is worth its memory.
BUSY = 0.5


def cost_of(through: Measurement, direct: Measurement | None) -> FrontCost | None:
    """The cost that a trial through the proxy shows; None when it says nothing.

    ``direct``: the same load on the same server without it.
    """
    measured = through.front
    if measured is None or not math.isfinite(measured.cpu_s_per_request.value):
        return None
    change = UNKNOWN
    if direct is not None and (direct.load.rps is None) == (through.load.rps is None):
        change = _difference(through.cpu_s_per_request, direct.cpu_s_per_request)
    return FrontCost(measured.cpu_s_per_request, measured.pss_bytes, change)


def _difference(x: Interval, y: Interval) -> Interval:
    """``x - y`` of two trials, whose errors have nothing to do with each other.

    CPU per request of two trials scatters beyond its interval within each (see ``costs``).
    """
    half = 1.96 * SCATTER * math.hypot(x.value, y.value)
    value = x.value - y.value
    below = math.hypot(x.value - x.low, y.high - y.value, half)
    above = math.hypot(x.high - x.value, y.value - y.low, half)
    return Interval(value, value - below, value + above)


def with_cost(demand: Demand, cost: FrontCost | None) -> Demand:
    """``demand`` with what the proxy adds to it; it counts where the conditions have one."""
    if cost is None:
        return demand
    worker = replace(demand.worker, front_pss_bytes=cost.pss_bytes)
    return replace(demand, front_cpu_s=cost.cpu_s, worker=worker)


def count_processes(rps: float, cpu_s: float, cores: float) -> int:
    """The number of its processes with which each is busy for half of its time at most."""
    wanted = math.ceil(rps * cpu_s / BUSY) if math.isfinite(rps * cpu_s) else 1
    return max(1, min(wanted, math.ceil(cores)))


def configure_proxy(
    installed: Installed, server: str, settings: Settings, *, count: int, told_scheme: bool
) -> Front:
    """The proxy's configuration in a trial, but for its own address and the server's."""
    return nginx_conf.before(
        server, settings, processes=count, statics=installed.statics, told_scheme=told_scheme
    )


_SCHEME_FIELDS = frozenset({"x-forwarded-proto", "x-forwarded-protocol", "x-forwarded-ssl"})


def says_scheme(headers: Sequence[tuple[str, str]]) -> bool:
    """Return whether the traffic comes as from something that ended TLS before it."""
    return any(name.lower() in _SCHEME_FIELDS for name, _ in headers)
