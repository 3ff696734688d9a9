"""First on the path, this hides the uvloop that is installed for others."""

raise ImportError("hidden")
