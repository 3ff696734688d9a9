"""A pre-fork server for WSGI and ASGI from the standard library, and adapters for others."""

VERSION = "0.1.0"  # as in pyproject.toml, which the app's interpreter does not have
