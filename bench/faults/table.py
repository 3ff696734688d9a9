"""All faults."""

from bench.faults import applications, circumstances

FAULTS = (*applications.FAULTS, *circumstances.FAULTS)
