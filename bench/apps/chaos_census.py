"""What a worker counts itself, asked from inside: calls under way, connections, bytes held."""

import gc
import json
import os


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


def take(inside):
    """JSON. ``inside``: calls the app has begun and not ended."""
    worker = next(each for each in gc.get_objects() if type(each).__name__ in _WORKERS)
    connections, held = _WORKERS[type(worker).__name__](worker)
    calls = len(worker.calls) if hasattr(worker, "calls") else inside
    said = {"pid": os.getpid(), "calls": max(calls, inside), "connections": connections}
    return json.dumps({**said, "held": held}).encode()
