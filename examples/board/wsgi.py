"""The WSGI application, for servers that want a module."""

from examples.board.app import create_app

application = create_app()
