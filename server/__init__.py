"""A pre-fork server for WSGI and ASGI from the standard library, and adapters for others."""
