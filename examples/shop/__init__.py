"""A shop on Django and Postgres, as it would stand behind a proxy that ends TLS."""
