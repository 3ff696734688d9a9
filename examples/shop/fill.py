"""The shop's stock and history: 24 categories, 3,000 products, 20,000 reviews, 4,000 orders."""

from typing import Any

import psycopg

from examples.rows import Rows, copy

CATEGORIES, PRODUCTS, CUSTOMERS, ORDERS, REVIEWS = 24, 3000, 1000, 4000, 20000
MAX_LINES = 6


def fill(cursor: psycopg.Cursor[Any], seed: int = 1) -> None:
    """Fill the migrated, empty tables."""
    rows = Rows(seed)
    pick = rows.random.randrange
    prices = {pk: f"{pick(500, 20000) / 100:.2f}" for pk in range(1, PRODUCTS + 1)}
    copy(
        cursor,
        "shop_category",
        ("id", "name", "slug"),
        ((pk, f"Room {pk}", f"room-{pk}") for pk in range(1, CATEGORIES + 1)),
    )
    copy(
        cursor,
        "shop_product",
        ("id", "category_id", "name", "description", "price", "stock"),
        (
            (pk, 1 + pick(CATEGORIES), rows.name(), rows.text(30, 60), price, pick(1000, 100000))
            for pk, price in prices.items()
        ),
    )
    copy(
        cursor,
        "shop_customer",
        ("id", "name", "email"),
        ((pk, f"Customer {pk}", f"{pk}@customer.example") for pk in range(1, CUSTOMERS + 1)),
    )
    copy(
        cursor,
        "shop_order",
        ("id", "customer_id", "placed"),
        ((pk, 1 + pick(CUSTOMERS), rows.moment()) for pk in range(1, ORDERS + 1)),
    )
    copy(
        cursor,
        "shop_orderline",
        ("order_id", "product_id", "quantity", "price"),
        (
            (order, product, 1 + pick(3), prices[product])
            for order in range(1, ORDERS + 1)
            for product in {rows.popular(PRODUCTS) for _ in range(1 + pick(MAX_LINES))}
        ),
    )
    copy(
        cursor,
        "shop_review",
        ("product_id", "customer_id", "stars", "text", "written"),
        (
            (
                *(rows.popular(PRODUCTS), 1 + pick(CUSTOMERS)),
                *(1 + pick(5), rows.text(8, 40), rows.moment()),
            )
            for _ in range(REVIEWS)
        ),
    )
