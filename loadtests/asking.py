"""One plain GET to the application under test, bounded in time and size, redirects not followed."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

TIMEOUT_S = 10.0
# The first request may load what the import did not.
FIRST_TIMEOUT_S = 30.0
# How long a stream of server-sent events is listened to before it is taken for endless.
EVENTS_TIMEOUT_S = 2.0
MAX_BODY = 5_000_000


@dataclass(frozen=True)
class Answer:
    """An answer; ``failure`` is a sentence when it was not a complete one."""

    status: int = 0
    content_type: str = ""
    location: str = ""
    attachment: bool = False  # meant to be saved, not shown
    body: bytes = b""
    failure: str = ""


def request_target(path: str) -> str:
    """The path as it goes on the wire: no fragment, nothing but ASCII."""
    return quote(path.partition("#")[0], safe="/?&=%:@!$'()*+,;~[]-._") or "/"


def ask(
    address: tuple[str, int],
    path: str,
    headers: Mapping[str, str],
    timeout: float = TIMEOUT_S,
) -> Answer:
    """GET ``path``; never raises for what the other side does."""
    deadline = time.monotonic() + timeout
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        own_host = any(name.lower() == "host" for name in headers)
        connection.putrequest("GET", request_target(path), skip_host=own_host)
        sent = {"User-Agent": "pretune", "Accept": "*/*", "Connection": "close", **headers}
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders()
        sock = connection.sock
        response = connection.getresponse()
        head = {
            "status": response.status,
            "content_type": response.getheader("Content-Type", "") or "",
            "location": response.getheader("Location", "") or "",
            "attachment": (response.getheader("Content-Disposition") or "")
            .lower()
            .startswith("attachment"),
        }
        if "text/event-stream" in str(head["content_type"]):
            deadline = min(deadline, time.monotonic() + EVENTS_TIMEOUT_S)
        body = bytearray()
        try:
            while len(body) <= MAX_BODY:
                sock.settimeout(max(0.001, deadline - time.monotonic()))
                data = response.read1(1 << 16)
                if not data:
                    return Answer(body=bytes(body), **head)  # type: ignore[arg-type]
                body += data
                if time.monotonic() > deadline:
                    break
            else:
                return Answer(failure="answers with more than 5 MB", **head)  # type: ignore[arg-type]
        except TimeoutError:
            pass
        return Answer(failure="never ends", **head)  # type: ignore[arg-type]
    except TimeoutError:
        return Answer(failure=f"does not answer within {round(timeout, 1):g} s")
    except http.client.HTTPException as error:
        return Answer(failure=f"does not answer in HTTP ({type(error).__name__})")
    except OSError as error:
        return Answer(failure=f"breaks the connection ({error.strerror or type(error).__name__})")
    finally:
        connection.close()


class Asking:
    """``ask``, or a stand-in, for many paths: all together within so many ``seconds``."""

    def __init__(self, seconds: float, ask: Callable[..., Answer] = ask) -> None:
        self.seconds = seconds
        self._ask = ask
        self._until = time.monotonic() + seconds
        self._timeout_s = FIRST_TIMEOUT_S

    @property
    def left_s(self) -> float:
        return max(0.0, self._until - time.monotonic())

    @property
    def may_ask(self) -> bool:
        return self.left_s > 0

    @property
    def too_long(self) -> str:
        """The reason why a path was not asked for."""
        return f"not asked: trying the routes took more than {self.seconds:.0f} s"

    def __call__(self, address: tuple[str, int], path: str, headers: Mapping[str, str]) -> Answer:
        timeout_s = min(self._timeout_s, max(0.5, self.left_s))
        answer = self._ask(address, path, headers, timeout_s)
        self._timeout_s = TIMEOUT_S
        return answer
