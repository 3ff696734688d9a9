"""Start and stop servers as processes, each behind the same small interface."""
