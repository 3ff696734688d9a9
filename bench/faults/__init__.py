"""The fault corpus: what applications, databases, machines and people do to a run of `tune`."""
