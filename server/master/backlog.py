"""Reads how many connections wait in the kernel's queue of a listening socket, and may."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

# struct tcp_info: eight bytes, then 32-bit fields; for a listener tcpi_unacked is the length of the
# queue and tcpi_sacked its limit (net/ipv4/tcp.c, tcp_get_info).
_TCP = struct.Struct("@24x2I")

# sock_diag(7): the only way to ask about unix sockets.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_SHOW_RQLEN = 0x10
_ATTRIBUTE_RQLEN = 4
_ANY_COOKIE = 0xFFFFFFFF
_REQUEST = struct.Struct("=IHHII" + "BBHIIIII")
_ANSWER = 16 + 16  # nlmsghdr, unix_diag_msg


def length(sock: socket.socket) -> tuple[int, int] | None:
    """Connections that wait, and the limit; None where the kernel does not say."""
    with contextlib.suppress(OSError, struct.error):
        if sock.family == socket.AF_UNIX:
            return _of_unix(sock)
        waiting, limit = _TCP.unpack(
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP.size)
        )
        return waiting, limit
    return None


def _of_unix(sock: socket.socket) -> tuple[int, int] | None:
    inode = os.fstat(sock.fileno()).st_ino
    request = _REQUEST.pack(
        _REQUEST.size, _SOCK_DIAG_BY_FAMILY, 1, 0, 0,
        socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, _SHOW_RQLEN, _ANY_COOKIE, _ANY_COOKIE,
    )  # fmt: skip
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
        asking.settimeout(1.0)
        asking.send(request)
        answer = asking.recv(4096)
    at = _ANSWER
    while at + 4 <= len(answer):
        size, kind = struct.unpack_from("=HH", answer, at)
        if kind == _ATTRIBUTE_RQLEN:
            waiting, limit = struct.unpack_from("=II", answer, at + 4)
            return waiting, limit
        at += max(4, (size + 3) & ~3)
    return None
