"""The held app on a server whose limits are set in the environment (LIMIT_<NAME>)."""

import limited  # noqa: F401
from held import application  # noqa: F401
