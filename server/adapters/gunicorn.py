"""Start the real gunicorn of the app's environment; it runs there, this in the tool's.

Each worker has booted (its app imported; under asgi its lifespan begun) before ``wait_ready``
returns. gunicorn's own log is the launch's log.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pretune.server.adapters.launch import Launch
from pretune.server.adapters.process import BOOTSTRAP, SIGNALS, ServerProcess, address
from pretune.server.adapters.process import start as start_process

NAME = "gunicorn"
INSTALL = "pip install gunicorn"

_LOOK_S = 20.0


def installed(python: Path) -> str | None:
    """Version of the gunicorn that this interpreter would import; None without one."""
    code = "import gunicorn; print(gunicorn.__version__)"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=_LOOK_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def start(launch: Launch) -> ServerProcess:
    """Start the server and return at once; ``wait_ready`` says when it answers."""
    return start_process(launch, command, SIGNALS)


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
