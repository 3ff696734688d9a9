"""Small real applications to measure, each with the services it needs.

Run from the root of the repository they are `examples.shop.wsgi` (Django), `examples.board.wsgi`
(Flask) and `examples.tickets.main` (FastAPI). Nothing in here imports pretune: they are written
as their users would write them, and know of it only the two variables of a hook (`hooks.py`).
"""
