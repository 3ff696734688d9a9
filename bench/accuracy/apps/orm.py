"""An ORM on Postgres: a list, one row by key, an aggregate."""

import os
import random

from flask import Flask
from orm_table import ITEMS
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import QueuePool


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[int]
    title: Mapped[str]


url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
engine = create_engine(url, poolclass=QueuePool, pool_size=20)
application = Flask(__name__)


@application.get("/list")
def listing() -> dict[str, list[str]]:
    with Session(engine) as session:
        some = select(Item).where(Item.kind == random.randrange(50)).limit(40)
        return {"titles": [item.title for item in session.scalars(some)]}


@application.get("/one")
def one() -> dict[str, str]:
    with Session(engine) as session:
        item = session.get_one(Item, random.randint(1, ITEMS))
        return {"title": item.title}


@application.get("/sum")
def aggregate() -> dict[str, int]:
    with Session(engine) as session:
        kinds = select(Item.kind, func.count()).group_by(Item.kind)
        return {"kinds": len(session.execute(kinds).all())}
