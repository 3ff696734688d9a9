"""Numbers as a reader wants them: three digits, the interval behind, a unit that fits.

Every function takes what the document holds: a number, an interval dict or null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

UNKNOWN, TOO_FEW = "unknown", "too few data"
# An interval of a positive quantity whose ends are so many times apart, the upper one so many times
# its value, says nothing but that end.
MEANINGLESS, TEN_FOLD = 100.0, 10.0
# A fraction that may be anything from nothing to all is not known.
ANYTHING = 0.9
LEAST_FRACTION = 1e-5
LEAST_FREE = 5e-4

# Smallest number first: the unit is chosen by the value, the interval follows it.
_BYTES = ((1, "B"), (1024, "KiB"), (1024**2, "MiB"), (1024**3, "GiB"))
_SECONDS = ((1e-6, "us"), (1e-3, "ms"), (1.0, "s"))
_COUNT = ((1, ""),)

# C0, C1 and the characters that turn the reading direction or hide: hostile in a terminal.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def clean(text: object) -> str:
    """``text`` without control characters, which are shown as ``\\x1b``; newline and tab stay."""
    shown = _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], str(text))
    return _SURROGATE.sub("\ufffd", shown)


def line(text: object) -> str:
    """``clean`` on one line: any run of white space becomes a space."""
    return " ".join(clean(text).split())


def middle(x: Any) -> float | None:
    """The value of an interval or a number; None when unknown."""
    if isinstance(x, Mapping):
        x = x.get("value")
    if isinstance(x, bool) or not isinstance(x, (int, float)) or not math.isfinite(x):
        return None
    return float(x)


def bounds(x: Any) -> tuple[float | None, float | None]:
    """Low and high of an interval; of a number twice the number."""
    if isinstance(x, Mapping):
        return middle(x.get("low")), middle(x.get("high"))
    return middle(x), middle(x)


def digits(x: float | None) -> str:
    """Three significant digits, integers whole and grouped: ``0.0123``, ``1.40``, ``41,000``."""
    if x is None or not math.isfinite(x):
        return UNKNOWN
    if x == 0:
        return "0"
    if abs(x) >= 99.95:
        return f"{x:,.0f}"
    if abs(x) < 1e-6:
        return "0"  # of any unit that people read
    places = 2 - math.floor(math.log10(abs(float(f"{x:.2e}"))))
    text = f"{x:.{max(places, 0)}f}"
    return str(int(x)) if x == int(x) else text


def _scaled(x: Any, units: tuple[tuple[float, str], ...]) -> str:
    value = middle(x)
    low, high = bounds(x)
    size = max((abs(v) for v in (value, low, high) if v is not None), default=0.0)
    guide = abs(value) if value else size
    factor, unit = units[0]
    for step, name in units[1:]:
        if guide >= step * 0.9995:
            factor, unit = step, name
    suffix = f" {unit}" if unit else ""

    def part(v: float | None) -> str:
        return digits(None if v is None else v / factor)

    if value is None:
        return f"at most {part(high)}{suffix}" if high is not None else UNKNOWN
    if low is None and high is None:
        return f"{part(value)}{suffix}"
    if part(low) == part(value) == part(high):
        return f"{part(value)}{suffix}"
    if low is not None and high is not None and _says_nothing(value, low, high):
        return f"{TOO_FEW} (at most {_scaled(high, units)})"
    spread = f"{'?' if low is None else part(low)}-{'?' if high is None else part(high)}"
    return f"{part(value)} ({spread}){suffix}"


def _says_nothing(value: float, low: float, high: float) -> bool:
    """Return whether the interval of a positive quantity leaves its order of magnitude open."""
    return low > 0 and high > MEANINGLESS * low and high > TEN_FOLD * value


def count(x: Any) -> str:
    """``182 (176-189)``."""
    return _scaled(x, _COUNT)


def size(x: Any) -> str:
    """Bytes: ``1.14 (1.11-1.17) GiB``."""
    return _scaled(x, _BYTES)


def seconds(x: Any) -> str:
    """``9.80 (9.66-9.94) ms``; two minutes and more as ``3 min 20 s``."""
    value = middle(x)
    if value is not None and value >= 120 and bounds(x) == (value, value):
        return f"{int(value // 60)} min {int(value % 60)} s"
    return _scaled(x, _SECONDS)


def milliseconds(x: Any) -> str:
    """A latency, whose field is in ms: ``210 (193-227) ms``, ``1.20 (1.10-1.30) s``."""
    if isinstance(x, Mapping):
        return seconds({k: None if v is None else v / 1e3 for k, v in x.items()})
    return seconds(None if x is None else x / 1e3)


def percent(x: Any) -> str:
    """A fraction: ``88%``, ``0.10%``; with its interval ``88% (83-93%)``."""
    value = middle(x)
    low, high = bounds(x)
    if value is None or (low is not None and high is not None and high - low >= ANYTHING):
        return UNKNOWN if value is None else TOO_FEW
    shown = [_percent(end) for end in (value, low, high) if end is not None]
    if len(shown) < 3 or len(set(shown)) == 1:
        return shown[0]
    return f"{shown[0]} ({shown[1].removesuffix('%')}-{shown[2]})"


def _percent(fraction: float) -> str:
    if fraction == 0:
        return "0%"
    if 0.995 <= fraction < 1:
        return ">99%"
    if abs(fraction) < LEAST_FRACTION:
        return f"<{LEAST_FRACTION:.3%}"
    return f"{fraction * 100:.0f}%" if abs(fraction) >= 0.0995 else f"{fraction * 100:.2g}%"


def free(fraction: Any) -> str:
    """The part that is left of a budget: ``57%``, ``none``, ``12% over``."""
    value = middle(fraction)
    if value is None:
        return UNKNOWN
    if abs(value) < LEAST_FREE:
        return "none"
    return percent(value) if value > 0 else f"{percent(-value)} over"


def bare(x: Any) -> str:
    """Only the value, three digits, without interval."""
    return digits(middle(x))


# The unit stands at the end of a field's name: longest first.
_BY_SUFFIX: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("_bytes_per_request", lambda x: f"{size(x)} per request"),
    ("_s_per_request", lambda x: f"{seconds(x)} per request"),
    ("_bytes", size),
    ("_ms", milliseconds),
    ("_rps", lambda x: f"{count(x)} requests/s"),
    ("_fraction", percent),
    ("_rate", percent),
    ("_share", percent),
    ("_s", seconds),
)


def named(name: str, value: Any) -> tuple[str, str]:
    """Label and text of one evidence entry: ``leak_slope_bytes_per_request`` says its unit."""
    is_number = middle(value) is not None or isinstance(value, Mapping)
    if is_number and not isinstance(value, bool):
        for suffix, show in _BY_SUFFIX:
            if name.endswith(suffix):
                return line(name.removesuffix(suffix).replace("_", " ")), show(value)
        return line(name.replace("_", " ")), count(value)
    if isinstance(value, (list, tuple)):
        shown = ", ".join(line(v) for v in value[:8]) + (", ..." if len(value) > 8 else "")
        return line(name.replace("_", " ")), shown
    return line(name.replace("_", " ")), line(value)
