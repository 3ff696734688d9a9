"""The kernel's knowledge of a connection."""

from __future__ import annotations

import array
import fcntl
import socket
import termios


def unacknowledged(sock: socket.socket | int) -> int:
    """Bytes sent that the other side's kernel has not confirmed; 1 if that is unknown."""
    size = array.array("i", [0])
    try:
        fcntl.ioctl(sock, termios.TIOCOUTQ, size)
    except (OSError, ValueError):
        return 1
    return size[0]
