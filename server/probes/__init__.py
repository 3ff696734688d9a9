"""What must run inside the app's process: introspection, telemetry and database probes."""
