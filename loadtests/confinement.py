"""Lets this process open connections to one address and to nothing else.

The load driver installs it before anything of the user's runs, so that neither a redirect nor a
locustfile can put load on a host that is not under test. An audit hook cannot be removed again
by the code it watches, and it sees ``connect`` however a library calls it. Name look-ups are not
stopped, what a look-up returns is.
"""

from __future__ import annotations

import sys
from typing import Any

# Every audit event by which data can leave through a socket, with the address's place in it.
_EVENTS = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1}


class AddressRefused(PermissionError):
    """A connection to ``address``, which is not the trial's."""

    def __init__(self, allowed: tuple[str, int] | None, address: object) -> None:
        shown = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
        super().__init__(f"the load goes to {allowed} only, not to {shown}")
        self.address = shown


class Confinement:
    """``allowed`` is the one address connections may go to; None: none at all."""

    def __init__(self) -> None:
        self.allowed: tuple[str, int] | None = None
        self.connections = 0  # opened to the allowed address so far

    def install(self) -> None:
        """For the rest of the process's life."""
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        place = _EVENTS.get(event)
        if place is None or arguments[place] is None:
            return
        address = arguments[place]
        if isinstance(address, tuple) and address[:2] == self.allowed:
            self.connections += 1
            return
        raise AddressRefused(self.allowed, address)
