"""The configuration of one run of the server, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pretune.server.config.hooks import Hooks
from pretune.server.http11.limits import Limits
from pretune.server.settings import Settings


class ConfigBroken(Exception):
    """The configuration cannot be used. The message is for the user, without our frames.

    ``usage``: the command line is at fault, not a file.
    """

    def __init__(self, message: str, *, usage: bool = False) -> None:
        super().__init__(message)
        self.usage = usage


# The class follows from the app's interface and the number of threads.
AUTO_CLASS = "auto"


@dataclass(frozen=True)
class Config:
    """The whole configuration: the app, the addresses, the settings. ``settings.worker_class`` may
    be AUTO_CLASS.
    """

    target: str
    settings: Settings = field(default_factory=lambda: Settings(worker_class=AUTO_CLASS))
    binds: tuple[str, ...] = ("127.0.0.1:8000",)
    chdir: str = "."
    env: tuple[tuple[str, str], ...] = ()
    access_log: str | None = None  # path, "-" for stdout, None: off
    error_log: str = "-"  # path, "-" for stderr
    pid_file: str | None = None
    forwarded_allow_ips: str = "127.0.0.1,::1"  # comma-separated, "*" trusts everyone
    proxy_protocol: bool = False  # every connection starts with a PROXY header
    proxy_allow_ips: str = "127.0.0.1,::1"  # peers that may send one
    log_level: str = "info"
    access_format: str | None = None  # gunicorn's atoms; None: the combined format
    capture_output: bool = False  # what the app prints goes to the error log
    pythonpath: tuple[str, ...] = ()  # searched before all other places
    boot_timeout: float = 0.0  # 0: the larger of timeout and 60 s
    max_worker_memory: int = 0  # bytes of PSS after which a worker is replaced; 0: never
    # Bytes a worker holds for clients slower than it: in memory, and in temporary files.
    worker_buffer_memory: int = 64 << 20
    worker_buffer_files: int = 1 << 30
    tmp_upload_dir: str | None = None  # of these files; None: the system's
    max_worker_age: float = 0.0  # s after which a worker is replaced; 0: never
    limits: Limits = field(default_factory=Limits)
    user: int | None = None  # uid the workers run as; None: the master's
    group: int | None = None
    umask: int | None = None  # of the workers; None: the master's. Of unix sockets; None: 0
    reuse_port: bool = False
    proc_name: str | None = None  # in process titles; None: the target
    metrics: str | None = None  # address of the metrics endpoint; None: off
    hooks: Hooks = field(default_factory=Hooks)
    notes: tuple[tuple[str, str], ...] = ()  # (level, text): said in the log once it is open
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


def hook_settings(config: Config) -> dict[str, Any]:
    """Settings as hooks see them, in ``cfg``: by gunicorn's names, beside our own."""
    fields = {name: getattr(config, name) for name in Config.__dataclass_fields__}
    return {
        **fields,
        **config.settings.to_json(),
        **{name: show(config) for name, show in _SHOWN_TO_HOOKS.items()},
    }


# gunicorn's name -> its value, where ours is called or shaped otherwise
_SHOWN_TO_HOOKS: dict[str, Callable[[Config], Any]] = {
    "accesslog": lambda c: c.access_log,
    "access_log_format": lambda c: c.access_format,
    "address": lambda c: list(c.binds),
    "bind": lambda c: list(c.binds),
    "env": lambda c: dict(c.env),
    "errorlog": lambda c: c.error_log,
    "gid": lambda c: c.group,
    "limit_request_line": lambda c: c.limits.line,
    "limit_request_fields": lambda c: c.limits.fields,
    "limit_request_field_size": lambda c: c.limits.field_size,
    "loglevel": lambda c: c.log_level,
    "pidfile": lambda c: c.pid_file,
    "proc_name": lambda c: c.proc_name or c.target,
    "raw_env": lambda c: [f"{name}={value}" for name, value in c.env],
    "uid": lambda c: c.user,
    "worker_class_str": lambda c: c.settings.worker_class,
    "wsgi_app": lambda c: c.target,
}
