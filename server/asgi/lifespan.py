"""The app's startup and shutdown: ASGI's lifespan protocol.

An app that does not know the protocol raises when it is called with its scope, and that is fine.
Which of the two an exception before ``startup.complete`` is, nobody can tell for certain: an app
that never asked for the event did not know it; one that took it and then raised probably failed.
Both are served, as by other servers, but the second is said loudly. Only an app that says
``startup.failed`` itself, or exits, does not boot.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pretune.server.asgi.messages import kind_of
from pretune.server.process.importing import TargetBroken, user_traceback
from pretune.server.process.log import Log

PATIENCE = 5.0  # s of a startup, before it is said that it is waited for


class Lifespan:
    """One worker's. ``state`` is what the app puts there for its requests."""

    def __init__(self, app: Any, state: dict[str, Any], log: Log) -> None:
        self._app = app
        self._state = state
        self._log = log
        self._inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._asked = False  # the app has taken an event
        self._started = False
        self._exit: BaseException | None = None

    async def startup(self) -> None:
        """Raises TargetBroken."""
        loop = asyncio.get_running_loop()
        slow = loop.call_later(
            PATIENCE, self._log.warning,
            f"the application's lifespan has not completed its startup after {PATIENCE:g} s; "
            "it is waited for",
        )  # fmt: skip
        try:
            answer = await self._ask("lifespan.startup")
        finally:
            slow.cancel()
        if self._exit is not None and not self._started:
            raise TargetBroken(f"the application's startup exited: {self._exit!r}", "")
        if answer is None:
            return
        if answer["type"] == "lifespan.startup.failed":
            message = str(answer.get("message", ""))
            last = message.strip().rsplit("\n", 1)[-1]
            raise TargetBroken(f"the application's startup failed: {last}", message)

    async def shutdown(self) -> None:
        if not self._started or self._task is None or self._task.done():
            return
        answer = await self._ask("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            self._log.error(f"the application's shutdown failed\n{answer.get('message', '')}")
        elif answer is None and self._exit is None:
            self._log.warning("the application's lifespan ended without completing its shutdown")

    async def _ask(self, kind: str) -> dict[str, Any] | None:
        """The app's answer, None if it has ended instead."""
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._inbox.put_nowait({"type": kind})
        if self._task is None:
            self._task = loop.create_task(self._run())
        waited: set[asyncio.Future[Any]] = {self._answer, self._task}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return self._answer.result() if self._answer.done() else None

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._ended_by(error)

    def _ended_by(self, error: BaseException) -> None:
        failed = self._answer is not None and self._answer.done()
        if not isinstance(error, Exception) and not self._started:
            self._exit = error
        elif self._started:
            self._exit = error
            self._log.error(f"the application's lifespan raised\n{user_traceback(error)}")
        elif failed:
            pass  # it has said so, and raised what Starlette raises then
        elif self._asked:
            self._log.error(
                "the application's lifespan raised before its startup was complete; "
                f"it is served without\n{user_traceback(error)}"
            )
        else:
            self._log.info(f"the application has no lifespan ({type(error).__name__}: {error})")

    async def _receive(self) -> dict[str, str]:
        message = await self._inbox.get()
        self._asked = True
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        kind = kind_of(message)
        phase = "shutdown" if self._started else "startup"
        if kind not in (f"lifespan.{phase}.complete", f"lifespan.{phase}.failed"):
            raise RuntimeError(f"unexpected message {kind!r} during {phase}")
        if self._answer is None or self._answer.done():
            raise RuntimeError(f"{kind} was sent twice, or was not asked for")
        self._started = self._started or kind == "lifespan.startup.complete"
        self._answer.set_result(message)
