"""The application factory and the engine.

`create_app` opens no connection: the pool fills as requests come, so that workers forked from a
preloaded application have connections of their own. A worker with more threads than the ten
connections of its pool makes the others wait.
"""

from __future__ import annotations

import os

from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from examples.board import markup, pages

POOL = {"pool_size": 5, "max_overflow": 5, "pool_timeout": 10}


def create_app(database_url: str | None = None) -> Flask:
    """The board on `database_url`, or else on the environment's DATABASE_URL."""
    url = database_url or os.environ["DATABASE_URL"]
    app = Flask(__name__)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), **POOL)
    app.extensions["sessions"] = sessionmaker(engine)
    app.register_blueprint(pages.blueprint)
    app.teardown_appcontext(pages.close_session)
    app.add_template_filter(markup.render, "markup")
    return app
