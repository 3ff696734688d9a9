"""Which worker holds which TCP connection to the database: the client port joins both sides."""

from __future__ import annotations

import os
from collections.abc import Iterable

import psutil

_ESTABLISHED = "01"


def local_ports(text: str, remote_port: int) -> dict[int, int]:
    """Socket inode -> local port of the connections to ``remote_port``, from /proc/net/tcp."""
    wanted = f":{remote_port:04X}"
    ports = {}
    for line in text.splitlines()[1:]:
        if wanted not in line:  # most lines are other people's; splitting is what costs
            continue
        fields = line.split()
        if fields[2].endswith(wanted) and fields[3] == _ESTABLISHED:
            ports[int(fields[9])] = int(fields[1].rpartition(":")[2], 16)
    return ports


def list_inodes(pid: int) -> set[int]:
    """Inodes of the sockets the process holds."""
    inodes: set[int] = set()
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except OSError:
        return inodes
    for name in names:
        try:
            link = os.readlink(f"{directory}/{name}")
        except OSError:
            continue
        if link.startswith("socket:["):
            inodes.add(int(link[8:-1]))
    return inodes


def listener(port: int) -> int | None:
    """The process that listens on a TCP port of this machine; the first of several.

    A pass over every process, so once and not under load.
    """
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    listening = []
    for connection in connections:
        host_and_port: tuple[object, ...] = connection.laddr
        if connection.status == psutil.CONN_LISTEN and host_and_port[1:] == (port,):
            listening.append(connection.pid or 0)
    return min(filter(None, listening), default=None)


def owners(pids: Iterable[int], remote_port: int) -> dict[int, int]:
    """Local port -> pid, for connections of these processes to ``remote_port``.

    Of a socket that several hold (opened before the fork) the lowest pid is told.
    """
    pids = sorted(pids)
    if not pids:
        return {}
    ports: dict[int, int] = {}
    for name in ("tcp", "tcp6"):
        try:
            # The worker's view: it may live in a network of its own.
            with open(f"/proc/{pids[0]}/net/{name}", encoding="ascii") as file:
                ports |= local_ports(file.read(), remote_port)
        except OSError:
            continue
    owner_of: dict[int, int] = {}
    for pid in pids:
        for inode in list_inodes(pid) & ports.keys():
            owner_of.setdefault(ports[inode], pid)
    return owner_of
