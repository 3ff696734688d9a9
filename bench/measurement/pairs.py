"""An interval and the truth it should cover; many of them, judged together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pretune.advisor.quantity import Interval


@dataclass(frozen=True)
class Pair:
    """One claim of one run. ``truth`` is in the interval's unit."""

    quantity: str
    where: str  # the law or the application
    claimed: Interval
    truth: float

    @property
    def covered(self) -> bool:
        rounding = 1e-9 * abs(self.truth)
        return self.claimed.low - rounding <= self.truth <= self.claimed.high + rounding

    @property
    def half_width(self) -> float:
        """Half of the interval, relative to the truth."""
        return (self.claimed.high - self.claimed.low) / 2 / abs(self.truth) if self.truth else 0.0


@dataclass(frozen=True)
class Coverage:
    """Of many pairs. ``bias``: the median of (value - truth) / truth."""

    pairs: int
    covered: int
    half_width: float  # median, relative
    bias: float
    below: int  # the whole interval below the truth
    above: int

    @property
    def share(self) -> float:
        return self.covered / self.pairs if self.pairs else math.nan

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Coverage:
        known = [p for p in pairs if math.isfinite(p.claimed.low) and math.isfinite(p.claimed.high)]
        biases = [(p.claimed.value - p.truth) / p.truth for p in known if p.truth]
        return cls(
            pairs=len(known),
            covered=sum(p.covered for p in known),
            half_width=statistics.median(p.half_width for p in known) if known else math.nan,
            bias=statistics.median(biases) if biases else 0.0,
            below=sum(p.claimed.high < p.truth for p in known),
            above=sum(p.claimed.low > p.truth for p in known),
        )

    def cells(self) -> tuple[str, ...]:
        """As HEAD names them."""
        return (
            f"{self.share:.1%}",
            f"{self.pairs}",
            f"{self.half_width:.1%}",
            f"{self.bias:+.1%}",
            f"{self.below} / {self.above}",
        )


HEAD = ("covered", "pairs", "half width", "bias", "below / above")
