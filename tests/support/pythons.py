"""The interpreters found here: the server must run in each of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def other_pythons() -> list[str]:
    """Interpreters besides ours that the server must run in."""
    found = [sys.executable]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in ("3.10", "3.12", "3.13"):
        candidates = [*sorted(pyenv.glob(f"{version}.*/bin/python"))]
        path = shutil.which(f"python{version}")
        if path is not None:
            candidates.append(Path(path))
        for candidate in candidates:
            probe = [str(candidate), "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
            done = subprocess.run(probe, capture_output=True, text=True, check=False)
            if done.stdout.strip() == version:
                found.append(str(candidate))
                break
    return found
