"""Quantities as people write them (``4G``, ``300ms``) and as we state them (value, low, high)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

# Half a 95% interval of a normal distribution, in standard deviations.
Z95 = 1.959964

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_SIZE_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|min|h)?", re.IGNORECASE)
_DURATION_SECONDS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval, ``low <= value <= high``, in the unit its name carries."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Interval:
        """A number that was counted, not estimated."""
        return cls(value, value, value)

    def scaled(self, factor: float) -> Interval:
        """The same estimate in another unit; ``factor`` must be positive."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def contains(self, x: float) -> bool:
        return self.low <= x <= self.high

    def to_json(self) -> dict[str, float | None]:
        """``{"value", "low", "high"}``; an unknown (NaN, infinite) bound becomes null."""

        def finite(x: float) -> float | None:
            return float(x) if math.isfinite(x) else None

        return {"value": finite(self.value), "low": finite(self.low), "high": finite(self.high)}


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def parse_size(text: str) -> int:
    """Bytes of ``4G``, ``512M``, ``1.5GiB`` (powers of 1024, as the kernel counts).

    Raises ValueError with a sentence that shows a right example.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size; write it as 4G, 512M or 800MB")
    factor: int = 1024 ** _SIZE_POWER[match[2].lower()]
    return round(float(match[1]) * factor)


def parse_duration(text: str) -> float:
    """Seconds of ``300ms``, ``2s``, ``2m``; a bare number is seconds.

    Raises ValueError with a sentence that shows a right example.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration; write it as 300ms, 30s or 2m")
    return float(match[1]) * _DURATION_SECONDS[(match[2] or "").lower()]


def format_bytes(n: float) -> str:
    """``1.5 GiB``, ``212 MiB``, ``512 B``: three digits at most, binary units."""
    if not math.isfinite(n):
        return "unknown"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n) < 1024 or unit == "GiB":
            return f"{n:.0f} {unit}" if unit in ("B", "KiB") or abs(n) >= 100 else f"{n:.3g} {unit}"
        n /= 1024
    raise AssertionError("unreachable")


def format_seconds(s: float) -> str:
    """``850 us``, ``12.3 ms``, ``2.1 s``, ``3 min 20 s``, ``5.2 h``."""
    if not math.isfinite(s):
        return "unknown"
    if 0 < s < 5e-7:
        return "less than 1 us"
    if s < 1e-3:
        return f"{s * 1e6:.0f} us"
    if s < 1:
        return f"{s * 1e3:.3g} ms"
    if s < 120:
        return f"{s:.3g} s"
    if s < 7200:
        return f"{int(s // 60)} min {int(s % 60)} s"
    return f"{s / 3600:,.1f} h"


def format_rate(rps: float) -> str:
    """``361``, ``12,400``, ``29.1``: three digits at least, none of them an exponent."""
    return f"{rps:,.0f}" if rps >= 99.5 else f"{rps:.3g}"


def counted(n: float, noun: str) -> str:
    """``1 worker``, ``2 workers``, ``1.5 cores``, ``1,024 users``."""
    shown = f"{n:,}" if isinstance(n, int) else f"{n:g}"
    return f"{shown} {noun}" if n == 1 else f"{shown} {noun}s"


def rounded(parts: Sequence[float], step: float) -> tuple[int, ...]:
    """Whole steps of each part, so that they add up to the rounded sum (largest remainders)."""
    whole = [math.floor(part / step) for part in parts]
    missing = round(math.fsum(parts) / step) - sum(whole)
    by_rest = sorted(range(len(parts)), key=lambda i: whole[i] - parts[i] / step)
    for i in by_rest[:missing]:
        whole[i] += 1
    return tuple(whole)


def shown_sum(
    parts: Sequence[float], units: Sequence[tuple[float, str]], digits: int = 3
) -> tuple[tuple[str, ...], str]:
    """Each part and their sum in one unit, the one that fits the sum, with as many decimals as give
    it so many digits; what is shown adds up. ``units``: (size, name), the smallest first."""
    total = math.fsum(parts)
    size, name = max((u for u in units if u[0] <= abs(total)), default=units[0])
    power = math.floor(math.log10(abs(total) / size)) if total else 0
    decimals = max(0, digits - 1 - power)
    steps = rounded(parts, size * 10.0**-decimals)
    shown = tuple(f"{n * 10.0**-decimals:,.{decimals}f}" for n in steps)
    return shown, f"{sum(steps) * 10.0**-decimals:,.{decimals}f} {name}"


SECONDS = ((1e-6, "us"), (1e-3, "ms"), (1.0, "s"))
BYTES = ((1.0, "B"), (1024.0, "KiB"), (1024.0**2, "MiB"), (1024.0**3, "GiB"))
