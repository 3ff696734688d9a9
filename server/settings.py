"""The settings of a pre-fork server, under gunicorn's names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# worker class -> the interface it serves
WORKER_CLASSES = {"sync": "wsgi", "gthread": "wsgi", "gevent": "wsgi", "asgi": "asgi"}


@dataclass(frozen=True)
class Settings:
    """The settings that can be tuned. Durations in seconds; 0 switches a limit off.

    ``timeout`` is the longest one request may take under ``sync`` and ``gthread``; under ``asgi``
    and ``gevent`` it is how long the event loop may stand still.
    """

    workers: int = 1
    threads: int = 1
    worker_class: str = "gthread"
    timeout: float = 30.0
    graceful_timeout: float = 30.0
    keepalive: float = 5.0
    max_requests: int = 0
    max_requests_jitter: int = 0
    preload_app: bool = False
    backlog: int = 2048
    worker_connections: int = 1000

    @property
    def interface(self) -> str:
        """``"wsgi"`` or ``"asgi"``."""
        return WORKER_CLASSES[self.worker_class]

    @property
    def slots(self) -> int:
        """Number of requests that can be inside the app at once (asgi, gevent: connections)."""
        if self.worker_class in ("asgi", "gevent"):
            return self.workers * self.worker_connections
        return self.workers * self.threads

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
