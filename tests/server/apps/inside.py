"""What an ASGI worker holds just now, as it is asked over HTTP."""

import gc
import json
import os


def held() -> str:
    """Calls, connections and descriptors but those of the request that asks."""
    from pretune.server.asgi.worker import AsgiWorker

    (worker,) = (each for each in gc.get_objects() if isinstance(each, AsgiWorker))
    return json.dumps(
        {
            "calls": len(worker.calls) + len(worker.sockets) - 1,
            "connections": len(worker.connections) + len(worker._opening) - 1,
            "descriptors": len(os.listdir("/proc/self/fd")) - 2,
            "messages": worker.messages.held,
        }
    )
