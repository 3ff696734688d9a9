"""A shop of FastAPI with an office of sqladmin behind a login."""

from fastapi import FastAPI, HTTPException
from sqladmin import Admin, ModelView
from sqladmin.authentication import AuthenticationBackend
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

engine = create_engine("sqlite:///shop.db", connect_args={"check_same_thread": False})
Session = sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class Shelf(Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    items: Mapped[list["Item"]] = relationship(back_populates="shelf")


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    shelf_id: Mapped[int] = mapped_column(ForeignKey("shelf.id"), index=True)
    shelf: Mapped[Shelf] = relationship(back_populates="items")


class Items(ModelView, model=Item):
    column_list = (Item.id, Item.name)


class Login(AuthenticationBackend):
    async def login(self, request):
        return False

    async def logout(self, request):
        return True

    async def authenticate(self, request):
        return "user" in request.session


app = FastAPI()
Admin(app, engine, authentication_backend=Login("only for a bench")).add_view(Items)


@app.get("/shelves")
def shelves() -> list[dict]:
    with Session() as session:
        return [{"id": each.id, "name": each.name} for each in session.scalars(select(Shelf))]


@app.get("/shelves/{shelf_id}/items")
def items(shelf_id: int) -> list[dict]:
    with Session() as session:
        found = session.scalars(select(Item).where(Item.shelf_id == shelf_id))
        return [{"id": each.id, "name": each.name} for each in found]


@app.get("/items/{item_id}")
def item(item_id: int) -> dict:
    with Session() as session:
        found = session.get(Item, item_id)
        if found is None:
            raise HTTPException(404)
        return {"id": found.id, "name": found.name, "shelf": found.shelf.name}
