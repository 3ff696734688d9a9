"""What the bench puts into Postgres for ``orm``."""

ITEMS = 20_000
FILL = (
    "drop table if exists item;"
    "create table item (id integer primary key, kind integer, title text);"
    f"insert into item select n, n % 50, 'item ' || n from generate_series(1, {ITEMS}) n;"
    "create index on item (kind); analyze item"
)
