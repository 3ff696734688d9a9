"""Cards dealt in exact shares: which endpoint, which of its paths, which of a user's tasks is next.

Dice keep shares only on average: of 100 requests, 12 to 28 are of an endpoint with a share of 0.2,
in each trial others, so that two trials differ by their mix before the server does. A deck deals
each card as often as its share says, to within one of it at any moment, and two decks of one seed
deal the same. Within that the order is random, so that no card always follows another.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

# Cards of one deck; more where there are more kinds of them.
CARDS = 256


class Deck:
    """Deals indices of ``weights`` for ever, by their shares."""

    def __init__(self, weights: Sequence[float], seed: str) -> None:
        """Raises ValueError unless every weight is at least 0 and one is above."""
        whole = sum(weights)
        if not whole > 0 or min(weights) < 0:
            raise ValueError("a deck needs weights, none below 0 and one above")
        self._shares = [weight / whole for weight in weights]
        self._dice = random.Random(seed)
        # Parts of cards that the decks so far have not dealt. They begin at random, so that cards
        # of which a deck has less than one do not all come in the same.
        self._owed = [self._dice.random() - 0.5 for _ in weights]
        self._cards: Iterator[int] = iter(())

    def deal(self) -> int:
        card = next(self._cards, None)
        while card is None:
            self._cards = iter(self._shuffle())
            card = next(self._cards, None)
        return card

    def _shuffle(self) -> list[int]:
        """One deck. Each index has as many cards as it is owed, spread over the whole deck: a card
        falls at a random moment of its own part of it."""
        size = max(CARDS, len(self._shares))
        placed: list[tuple[float, int]] = []
        for index, share in enumerate(self._shares):
            owed = self._owed[index] + share * size
            count = max(0, round(owed))
            self._owed[index] = owed - count
            placed += [((at + self._dice.random()) / count, index) for at in range(count)]
        placed.sort()
        return [index for _, index in placed]
