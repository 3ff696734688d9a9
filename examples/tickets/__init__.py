"""A ticket desk on FastAPI and Postgres, with asynchronous and plain routes side by side."""
