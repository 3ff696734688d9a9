"""A message board on Flask, SQLAlchemy and Postgres."""
