"""Decks keep shares at every moment, and deal the same for the same seed."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pretune.loadtests.deck import CARDS, Deck

pytestmark = pytest.mark.fast


def deal(weights, count, seed="1"):
    deck = Deck(weights, seed)
    return [deck.deal() for _ in range(count)]


@pytest.mark.parametrize(
    "weights", [[1], [1, 1], [5, 3, 2], [0.62, 0.37, 0.01], [1e-3, 1], [1] * 400, [7, 0, 3]]
)
@pytest.mark.parametrize("count", [60, 1000, 5000])
def test_each_card_is_dealt_as_often_as_its_share_says(weights, count):
    dealt = deal(weights, count)
    for index, weight in enumerate(weights):
        wanted = count * weight / sum(weights)
        assert abs(dealt.count(index) - wanted) <= 3, index


def test_a_card_of_no_weight_is_never_dealt():
    assert 1 not in deal([1, 0, 1], 2000)


def test_one_seed_deals_the_same_and_another_does_not():
    assert deal([3, 2, 1], 300) == deal([3, 2, 1], 300) != deal([3, 2, 1], 300, seed="2")


def test_no_card_always_follows_another():
    followed = set(pairwise(deal([1, 1, 1], CARDS)))
    assert len(followed) == 9


def test_cards_rarer_than_one_in_a_deck_do_not_come_together():
    dealt = deal([1.0] + [0.0005] * 100, 20 * CARDS)
    rare = [at // CARDS for at, index in enumerate(dealt) if index]
    assert max(rare.count(deck) for deck in range(20)) < 40


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1]])
def test_a_deck_without_cards_is_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        Deck(weights, "1")
