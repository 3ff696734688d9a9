"""Reads a trial from outside: processes, Postgres, the machine and the telemetry rings."""
