"""What a worker counts itself, asked from inside: calls, connections, bytes held and in use."""

import ctypes
import gc
import json
import os
import sys


def _threads_or_greenlets(worker):
    acceptor = getattr(worker, "acceptor", worker)
    room = worker.room
    return len(acceptor.connections), room.memory.taken + room.files.taken


def _asgi(worker):
    return len(worker.connections), worker.messages.held


_WORKERS = {
    "ThreadedWorker": _threads_or_greenlets,
    "GreenletWorker": _threads_or_greenlets,
    "AsgiWorker": _asgi,
}


_MALLINFO = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Mallinfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _MALLINFO.split())


def _in_use():
    """Bytes that malloc has given out and not got back: its free ones are nobody's leak."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)  # from glibc 2.33 on
    if ask is None:
        return 0
    ask.restype = _Mallinfo
    said = ask()
    return said.uordblks + said.hblkhd


def take(inside):
    """JSON. ``inside``: calls the app has begun and not ended."""
    gc.collect()
    worker = next(each for each in gc.get_objects() if type(each).__name__ in _WORKERS)
    connections, held = _WORKERS[type(worker).__name__](worker)
    calls = len(worker.calls) if hasattr(worker, "calls") else inside
    said = {"pid": os.getpid(), "calls": max(calls, inside), "connections": connections}
    said |= {"held": held, "in_use": _in_use(), "blocks": sys.getallocatedblocks()}
    return json.dumps(said).encode()
