"""Ten shelves with 50 items each."""

from shop import Base, Item, Session, Shelf, engine

Base.metadata.create_all(engine)
with Session() as session:
    for shelf in range(1, 11):
        session.add(Shelf(id=shelf, name=f"Shelf {shelf}"))
        session.add_all(Item(name=f"Item {shelf}-{n}", shelf_id=shelf) for n in range(50))
    session.commit()
