"""The applications that are swept, one row each. Nothing in the tool is tuned to any of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

APPS = Path(__file__).with_name("apps")
POSTGRES, UPSTREAM = "DATABASE_URL", "ACCURACY_UPSTREAM"


@dataclass(frozen=True)
class Application:
    """``needs``: names of the environment's services; ``paths`` have equal shares."""

    name: str
    nature: str
    interface: str = "wsgi"
    paths: tuple[str, ...] = ("/",)
    needs: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        return APPS / f"{self.name}.py"


APPLICATIONS = (
    Application("compute", "computes in Python, Flask"),
    Application(
        "orm", "SQLAlchemy on Postgres, Flask", paths=("/list", "/one", "/sum"), needs=(POSTGRES,)
    ),
    Application("outbound", "asks a slow upstream (40 to 60 ms)", needs=(UPSTREAM,)),
    Application("bimodal", "nine requests cheap, the tenth dear", paths=("/",)),
    Application("arrays", "numpy, sorts without the GIL"),
    Application("locked", "waits 4 ms under a lock of its process"),
    Application("leaky", "keeps 2 KiB of each request"),
    Application("heavy", "60 MiB at import, 8 MiB more in a request"),
    Application("coroutines", "FastAPI, awaits 25 ms", "asgi", paths=("/slow", "/quick")),
    Application("threadpool", "FastAPI, sync views in its thread pool", "asgi"),
)
BY_NAME = {app.name: app for app in APPLICATIONS}
