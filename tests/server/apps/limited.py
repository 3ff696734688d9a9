"""Sets the limits of the server that imports it from the environment (LIMIT_<NAME>)."""

import os

from pretune.server.workers import limits

for variable, value in os.environ.items():
    if variable.startswith("LIMIT_"):
        assert hasattr(limits, variable[6:])
        setattr(limits, variable[6:], float(value))
