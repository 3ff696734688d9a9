"""All faults."""

from bench.faults import applications, circumstances, elsewhere, oddities

FAULTS = (*elsewhere.FAULTS, *circumstances.FAULTS, *applications.FAULTS, *oddities.FAULTS)
