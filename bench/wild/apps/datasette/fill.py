"""A file of two tables and a view."""

import sqlite3

with sqlite3.connect("shop.db") as database:
    database.executescript("""
        CREATE TABLE maker (id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, price REAL,
                              maker INTEGER REFERENCES maker(id));
        CREATE INDEX product_maker ON product(maker);
        CREATE VIEW dear AS SELECT * FROM product WHERE price > 90;
    """)
    rows = [(n, f"Maker {n}") for n in range(1, 41)]
    database.executemany("INSERT INTO maker VALUES (?, ?)", rows)
    rows = [(n, f"Product {n}", n % 100, 1 + n % 40) for n in range(1, 2001)]
    database.executemany("INSERT INTO product VALUES (?, ?, ?, ?)", rows)
