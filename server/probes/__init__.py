"""Probes inside the app's process: introspection, telemetry and database probes."""
