"""Everything one run of the server is told, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from pretune.server.settings import Settings

# The class follows from the app's interface and the number of threads.
AUTO_CLASS = "auto"


@dataclass(frozen=True)
class Config:
    """What to serve, where, and how. ``settings.worker_class`` may be AUTO_CLASS."""

    target: str
    settings: Settings = field(default_factory=lambda: Settings(worker_class=AUTO_CLASS))
    binds: tuple[str, ...] = ("127.0.0.1:8000",)
    chdir: str = "."
    env: tuple[tuple[str, str], ...] = ()
    access_log: str | None = None  # path, "-" for stdout, None: off
    error_log: str = "-"  # path, "-" for stderr
    pid_file: str | None = None
    forwarded_allow_ips: str = "127.0.0.1,::1"  # comma-separated, "*" trusts everyone
    boot_timeout: float = 0.0  # 0: the larger of timeout and 60 s
    events_fd: int | None = None
    telemetry: str | None = None  # directory of the rings; None: off
    probes: bool = False


def choose_class(settings: Settings, interface: str) -> str:
    """The worker class that serves ``interface``. Raises ValueError if the asked one cannot."""
    asked = settings.worker_class
    if asked == AUTO_CLASS:
        if interface == "asgi":
            return "asgi"
        return "gthread" if settings.threads > 1 else "sync"
    # As gunicorn does: several threads mean the threaded class.
    if asked == "sync" and settings.threads > 1:
        asked = "gthread"
    if (asked == "asgi") != (interface == "asgi"):
        raise ValueError(
            f"this is {'an ASGI' if interface == 'asgi' else 'a WSGI'} application, "
            f"worker class {asked} serves {'ASGI' if asked == 'asgi' else 'WSGI'}"
        )
    return asked


def boot_limit(config: Config) -> float:
    """Seconds an import may take before it counts as hanging; 0 switches the limit off."""
    if config.boot_timeout:
        return config.boot_timeout
    return max(config.settings.timeout, 60.0) if config.settings.timeout else 0.0
