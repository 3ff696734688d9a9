"""Start the real gunicorn of the app's environment; it runs there, this in the tool's.

Each worker has booted (its app imported; under asgi its lifespan begun) before ``wait_ready``
returns. gunicorn's own log is the launch's log.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pretune.server.adapters.launch import Launch, ServerKind
from pretune.server.adapters.process import BOOTSTRAP, SIGNALS, ServerProcess, address
from pretune.server.adapters.process import start as start_process
from pretune.server.hosted.under_gunicorn import OWN_ASGI, UVICORN

NAME = "gunicorn"
INSTALL = {"wsgi": "pip install gunicorn", "asgi": f"pip install 'gunicorn>={OWN_ASGI[0]}'"}

# A worker that was killed while it booted is started again, without end.
KIND = ServerKind(NAME, SIGNALS, ((r"was sent SIG(?!TERM)", 3), (r"Worker failed to boot", 1)))

_LOOK_S = 20.0


# Prints the version of a gunicorn that serves the interface; before it had an asgi worker of its
# own that takes the worker class of uvicorn, too.
_ASK = f"""
import sys, gunicorn
if sys.argv[1] == "asgi" and gunicorn.version_info < {OWN_ASGI}:
    import {UVICORN.partition(".")[0]}
print(gunicorn.__version__)
"""


def installed(python: Path, interface: str) -> str | None:
    """Version of the gunicorn that this interpreter would import; None without one that can
    serve ``interface`` ("wsgi", "asgi")."""
    try:
        done = subprocess.run(
            [python, "-c", _ASK, interface],
            capture_output=True, text=True, timeout=_LOOK_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def start(launch: Launch) -> ServerProcess:
    """Start the server and return at once; ``wait_ready`` says when it answers."""
    return start_process(launch, command, KIND)


def command(launch: Launch, events_fd: int) -> list[str]:
    """The command line of a launch."""
    line = [str(launch.python), str(BOOTSTRAP), "gunicorn", launch.target]
    line += ["--settings", json.dumps(launch.settings.to_json())]
    line += ["--bind", address(launch.bind)]
    line += ["--chdir", str(launch.chdir), "--events-fd", str(events_fd)]
    line += ["--forwarded-allow-ips", launch.forwarded_allow_ips]
    if launch.config is not None:
        line += ["--config", str(launch.config)]
    if launch.telemetry is not None:
        line += ["--telemetry", str(launch.telemetry)]
    if launch.probes:
        line.append("--probes")
    return line
