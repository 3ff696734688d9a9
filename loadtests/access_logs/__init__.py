"""Traffic from access logs: formats.py says how a line is read, tally.py what is kept of it."""
