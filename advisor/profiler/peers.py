"""Peers of an application's connections: the other ends of its TCP sockets, from the kernel.

What an app says of its databases can be incomplete (a connection made by hand, a host known only at
run time); what its sockets are connected to cannot, also while the connection is being made.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pretune.advisor.profiler.sockets import list_inodes
from pretune.advisor.resources.postgres_url import is_loopback, own_addresses

# What Postgres and its poolers listen on, where nothing else is said.
POSTGRES_PORTS: Final = frozenset({5432, 5433, 6432, 6543})

# linux/sock_diag.h, linux/inet_diag.h, linux/netlink.h
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_DONE, _ERROR = 3, 2
_REQUEST: Final = struct.Struct("=IHHII BBBxI 48x")
_HEADER: Final = struct.Struct("=IHHII")
_MESSAGE: Final = struct.Struct("=BBBB HH 16s 16s IQ IIIII")
# net/tcp_states.h, a bit each: established, being connected, and the halves of a closing one. The
# thousands in TIME_WAIT belong to nobody.
_STATES: Final = sum(1 << state for state in (1, 2, 4, 5, 8, 9))


@dataclass(frozen=True, order=True)
class Peer:
    """The other end of a connection."""

    host: str
    port: int

    def __str__(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        try:
            return f"{name}:{self.port} ({socket.getservbyport(self.port, 'tcp')})"
        except OSError:
            return f"{name}:{self.port}"


def list_peers(
    own: frozenset[str], is_here: Callable[[str], bool] = is_loopback
) -> dict[int, Peer]:
    """Socket inode -> peer, of all TCP sockets of this network namespace that lead out of it.

    ``own``: addresses of this machine's interfaces. Asked by sock_diag(7): /proc/net/tcp would list
    the connections in TIME_WAIT, too, of which a load leaves tens of thousands. {} where the kernel
    does not answer.
    """
    peers: dict[int, Peer] = {}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
            for family in (socket.AF_INET, socket.AF_INET6):
                kernel.send(
                    _REQUEST.pack(
                        _REQUEST.size, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 0, 0,
                        family, socket.IPPROTO_TCP, 0, _STATES,
                    )
                )  # fmt: skip
                for inode, peer in _answers(kernel):
                    if peer.host not in own and not is_here(peer.host):
                        peers[inode] = peer
    except OSError:
        return {}
    return peers


def _answers(kernel: socket.socket) -> Iterator[tuple[int, Peer]]:
    """Inode and peer of each socket the kernel lists."""
    while True:
        data = kernel.recv(1 << 16)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind in (_DONE, _ERROR):
                return
            family, _, _, _, _, port, _, host, *_, inode = _MESSAGE.unpack_from(data, _HEADER.size)
            size = 4 if family == socket.AF_INET else 16
            address = ipaddress.ip_address(host[:size])
            mapped = getattr(address, "ipv4_mapped", None)
            yield inode, Peer(str(mapped or address), socket.ntohs(port))
            data = data[(length + 3) & ~3 :]


def remote_peers(find_pids: Callable[[], Iterable[int]], own: frozenset[str]) -> set[Peer]:
    """The peers of some processes that are not on this machine; see ``list_peers``.

    The processes are looked for only when somebody on this machine has such a peer.
    """
    peers = list_peers(own)
    if not peers:
        return set()
    return {peers[inode] for pid in find_pids() for inode in list_inodes(pid) & peers.keys()}


@contextmanager
def watch_peers(
    find_pids: Callable[[], Iterable[int]], every_s: float, most_cpu: float
) -> Iterator[set[Peer]]:
    """Collect the remote peers of the processes that ``find_pids`` gives, every ``every_s`` s.

    The set grows while the block runs, in a thread of its own, which takes at most ``most_cpu`` of
    a core. A connection that is over between two looks is not seen.
    """
    seen: set[Peer] = set()
    own = own_addresses()
    ended = threading.Event()

    def watch() -> None:
        pause_s = 0.0
        while not ended.wait(pause_s):
            began = time.thread_time()
            seen.update(remote_peers(find_pids, own))
            took_s = time.thread_time() - began
            # soon at first, so that a trial that must end does so before it has done much
            pause_s = max(min(2 * pause_s, every_s), took_s / most_cpu)

    thread = threading.Thread(target=watch, name="peers", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
        seen.update(remote_peers(find_pids, own))


def find_postgres(peers: Iterable[Peer], ports: frozenset[int]) -> Peer | None:
    """The first peer that listens where a Postgres is known or used to listen."""
    return next((peer for peer in sorted(peers) if peer.port in ports | POSTGRES_PORTS), None)
