"""The shop under gunicorn: every route, its guards, its transactions and its connections."""

from __future__ import annotations

import re
from typing import Any

import pytest


def test_loading_and_forking_it_opens_no_connection(shop: Any) -> None:
    assert shop.connections_at_start == 0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "All products"),
        ("/?page=3", "Page 3 of 125"),
        ("/category/room-3/", "Room 3"),
        ("/product/5/", "reviews"),
        ("/search/?q=brass", "brass"),
        ("/search/?q=nothing+is+called+this", "None"),
        ("/api/product/5/", '"stock"'),
        ("/delivery/5/", '"days"'),
        ("/bestsellers/", "Lift"),
        ("/login/", "csrfmiddlewaretoken"),
    ],
)
def test_a_page_answers(shop: Any, path: str, words: str) -> None:
    answer = shop.get(path)
    assert answer.status == 200, answer.body
    assert words in answer.body


@pytest.mark.parametrize("path", ["/product/999999/", "/category/none/", "/nowhere/"])
def test_what_is_not_there_is_not_found(shop: Any, path: str) -> None:
    assert shop.get(path).status == 404


def test_the_account_asks_for_a_login(shop: Any) -> None:
    answer = shop.get("/account/")
    assert answer.status == 302
    assert answer.headers["Location"] == "/login/?next=/account/"


def test_without_the_proxys_header_it_redirects_to_https(shop: Any) -> None:
    answer = shop.get("/", X_Forwarded_Proto=None)
    assert answer.status == 301
    assert answer.headers["Location"] == "https://shop.example/"


def test_another_host_is_refused(shop: Any) -> None:
    assert shop.get("/", Host="other.example").status == 400


@pytest.mark.parametrize("kind", ["product", "category"])
def test_the_links_of_the_home_page_lead_somewhere(shop: Any, kind: str) -> None:
    links = set(re.findall(rf'href="(/{kind}/[^"]+)"', shop.get("/").body))
    assert len(links) > 1
    assert {shop.get(link).status for link in sorted(links)[:3]} == {200}


def test_orders_placed_at_once_all_come_off_the_stock(shop: Any) -> None:
    def stock() -> int:
        return int(shop.get("/api/product/7/").json()["stock"])

    before = stock()
    order = {"customer": 1, "lines": [{"product": 7, "quantity": 2}, {"product": 3, "quantity": 1}]}
    answers = shop.at_once(8, lambda: shop.post_json("/order/", order))
    assert [answer.status for answer in answers] == [201] * 8
    assert len({answer.json()["order"] for answer in answers}) == 8
    assert stock() == before - 16


def test_an_order_beyond_the_stock_changes_nothing(shop: Any) -> None:
    [(orders,)] = shop.query("SELECT count(*) FROM shop_order")
    lines = [{"product": 3, "quantity": 1}, {"product": 4, "quantity": 10**6}]
    answer = shop.post_json("/order/", {"customer": 1, "lines": lines})
    assert answer.status == 409
    assert answer.json()["products"] == [4]
    assert shop.query("SELECT count(*) FROM shop_order") == [(orders,)]


@pytest.mark.parametrize(
    "order",
    [[], {}, {"customer": 1, "lines": []}, {"customer": 1, "lines": [{"product": 1}]}, "x", 1],
)
def test_what_is_no_order_is_refused(shop: Any, order: object) -> None:
    assert shop.post_json("/order/", order).status == 400


def test_an_order_is_not_placed_by_looking(shop: Any) -> None:
    assert shop.get("/order/").status == 405


def test_each_thread_keeps_at_most_one_connection(shop: Any) -> None:
    for _ in range(3):
        assert {a.status for a in shop.at_once(24, lambda: shop.get("/api/product/5/"))} == {200}
    assert 1 <= shop.connections() <= 2 * 4
