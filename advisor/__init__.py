"""The pipeline and its commands: from a target, a budget and a workload to a verified answer."""
