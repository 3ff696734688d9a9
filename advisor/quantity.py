"""Quantities as people write them (``4G``, ``300ms``) and as we state them (value, low, high)."""

from __future__ import annotations

import math
import re
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
    """``850 us``, ``12.3 ms``, ``2.1 s``, ``3 min 20 s``."""
    if not math.isfinite(s):
        return "unknown"
    if s < 1e-3:
        return f"{s * 1e6:.0f} us"
    if s < 1:
        return f"{s * 1e3:.3g} ms"
    if s < 120:
        return f"{s:.3g} s"
    return f"{int(s // 60)} min {int(s % 60)} s"
