"""Which server for this app: each at its own best, measured in turn. `tune compare`."""
