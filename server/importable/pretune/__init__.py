"""``pretune`` for an interpreter in which nothing is installed: ``pretune.server`` and no more.

The directory above is all that goes on the path, where a server is started by its own command and
imports ``pretune.server.entry`` as it would any application.
"""

from __future__ import annotations

import importlib.util
import os

_SERVER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_spec = importlib.util.spec_from_file_location(
    "_pretune_bootstrap", os.path.join(_SERVER, "bootstrap.py")
)
if _spec is None or _spec.loader is None:
    raise ImportError(f"no server in {_SERVER}")
_bootstrap = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_bootstrap)
# The import system takes what stands under this name when this module has run.
_bootstrap.make_importable(_SERVER)
