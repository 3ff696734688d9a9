"""The held app on a server whose limits are set in the environment (LIMIT_<NAME>)."""

import os

from held import application  # noqa: F401

from pretune.server.workers import limits

for variable, value in os.environ.items():
    if variable.startswith("LIMIT_"):
        assert hasattr(limits, variable[6:])
        setattr(limits, variable[6:], float(value))
