"""What goes with what: lift of pairs of products over the latest orders."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

ORDERS = 400


class Pair(NamedTuple):
    """Two products, how often they were bought in one order, and how much above chance."""

    products: tuple[int, int]
    together: int
    lift: float


def bought_together(lines: Iterable[tuple[int, int]], best: int = 20) -> list[Pair]:
    """The pairs with the highest lift, from (order, product) lines."""
    baskets: defaultdict[int, set[int]] = defaultdict(set)
    for order, product in lines:
        baskets[order].add(product)
    alone = Counter(product for basket in baskets.values() for product in basket)
    together = Counter(
        pair for basket in baskets.values() for pair in combinations(sorted(basket), 2)
    )
    pairs = [
        Pair(pair, count, count * len(baskets) / (alone[pair[0]] * alone[pair[1]]))
        for pair, count in together.items()
    ]
    return sorted(pairs, key=lambda pair: (-pair.together, -pair.lift, pair.products))[:best]
