"""Start the embedded server; it runs in the app's interpreter, this in the tool's."""

from __future__ import annotations

from pretune.server.adapters.launch import Launch, ServerKind
from pretune.server.adapters.process import BOOTSTRAP, SIGNALS, ServerProcess, address
from pretune.server.adapters.process import start as start_process
from pretune.server.settings import Settings

KIND = ServerKind("the embedded server", SIGNALS)

# field of Settings -> flag
FLAGS = {
    "workers": "--workers",
    "threads": "--threads",
    "worker_class": "--worker-class",
    "timeout": "--timeout",
    "graceful_timeout": "--graceful-timeout",
    "keepalive": "--keep-alive",
    "max_requests": "--max-requests",
    "max_requests_jitter": "--max-requests-jitter",
    "backlog": "--backlog",
    "worker_connections": "--worker-connections",
}


def start(launch: Launch) -> ServerProcess:
    """Start the server and return at once; ``wait_ready`` says when it answers."""
    return start_process(launch, command, KIND)


def command(launch: Launch, events_fd: int) -> list[str]:
    """The command line of a launch."""
    line = [str(launch.python), str(BOOTSTRAP), "serve", launch.target]
    line += ["--bind", address(launch.bind)]
    line += ["--chdir", str(launch.chdir), "--events-fd", str(events_fd)]
    line += ["--forwarded-allow-ips", launch.forwarded_allow_ips]
    # A file that happens to lie there would change what is measured.
    line += ["--no-config"] if launch.config is None else ["--config", str(launch.config)]
    line += _setting_flags(launch.settings)
    if launch.telemetry is not None:
        line += ["--telemetry", str(launch.telemetry)]
    if launch.probes:
        line.append("--probes")
    return line


def _setting_flags(settings: Settings) -> list[str]:
    line: list[str] = []
    for name, flag in FLAGS.items():
        line += [flag, str(getattr(settings, name))]
    return [*line, "--preload"] if settings.preload_app else line
