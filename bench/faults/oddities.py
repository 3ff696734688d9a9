"""Applications that do what no server's author would: most of them are served all the same."""

from __future__ import annotations

from bench.faults.applications import (
    ANY_ANSWER,
    COUNT,
    FAILED,
    HELPER,
    LOOK,
    NOTHING_WRONG,
    SERVED,
    boot,
    seen,
    wsgi,
)
from bench.faults.fault import Fault

ASGI = "async def app(scope, receive, send):\n"
ANSWER = (
    "    await send({'type': 'http.response.start', 'status': 200,"
    " 'headers': [(b'content-length', b'2')]})\n"
    "    await send({'type': 'http.response.body', 'body': b'hi'})\n"
)
LIFESPAN = "    if scope['type'] == 'lifespan':\n"
STARTED = "        await send({'type': 'lifespan.startup.complete'})\n"


def asgi(name: str, says: str, codes: tuple[int, ...], body: str, **fields: object) -> Fault:
    return Fault(name, says, codes, body, **fields)  # type: ignore[arg-type]


def looked_at(name: str, body: str) -> Fault:
    """An ASGI application that is asked once, and nothing is wrong with it."""
    return asgi(name, NOTHING_WRONG, SERVED, body, flags=LOOK, quick=True)


LIFESPANS = (
    looked_at("ASGI: lifespan ends once it has started",
              ASGI + LIFESPAN + "        await receive()\n" + STARTED + "        return\n"
              + ANSWER),
    looked_at("ASGI: lifespan fails once it has started",
              ASGI + LIFESPAN + "        await receive()\n" + STARTED + "        raise KeyError\n"
              + ANSWER),
    looked_at("ASGI: lifespan starts twice",
              ASGI + LIFESPAN + "        await receive()\n" + 2 * STARTED
              + "        await receive()\n        return\n" + ANSWER),
    looked_at("ASGI: a loop of its own in a thread",
              "import asyncio, threading\nthreading.Thread(target=asyncio.new_event_loop()"
              ".run_forever, daemon=True).start()\n" + ASGI + ANSWER),
    asgi("ASGI: shutdown does not end, under load", "had not ended", ANY_ANSWER,
         "import asyncio\n" + ASGI + LIFESPAN + "        await receive()\n" + STARTED
         + "        await receive()\n        await asyncio.sleep(10000)\n" + ANSWER),
)  # fmt: skip

REQUESTS = (
    boot("returns nothing", "answers 500", "def app(environ, start):\n    start('200 OK', [])\n"),
    boot("never starts the response", "answers 500",
         "def app(environ, start):\n    return [b'x']\n"),
    boot("exits in every request", "no route answers",
         "import sys\ndef app(environ, start):\n    sys.exit(0)\n"),
    boot("raises KeyboardInterrupt in every request", "no route answers",
         "def app(environ, start):\n    raise KeyboardInterrupt\n"),
    wsgi("stops itself in every request", "does not answer within", FAILED,
         "import os, signal\ndef app(environ, start):\n    os.kill(os.getpid(), signal.SIGSTOP)\n"
         "    return ok(start)\n"),
    seen("uses write",
         "def app(environ, start):\n    start('200 OK', [])(b'hello')\n    return []\n"),
    seen("a body of empty pieces",
         "def app(environ, start):\n    start('200 OK', [])\n    yield from [b''] * 1000\n"
         "    yield b'x'\n"),
    seen("close raises", "class Body(list):\n    def close(self):\n        raise KeyError\n"
         "def app(environ, start):\n    return Body(ok(start))\n"),
    asgi("ASGI: a body before its start", "answers 500", FAILED,
         ASGI + "    await send({'type': 'http.response.body', 'body': b'hi'})\n", quick=True),
    looked_at("ASGI: raises after the answer",
              ASGI + "    assert scope['type'] == 'http'\n" + ANSWER + "    raise KeyError\n"),
    asgi("ASGI: waits for the client to leave", "does not answer within", FAILED,
         ASGI + "    assert scope['type'] == 'http'\n"
         "    while (await receive())['type'] != 'http.disconnect':\n        pass\n"),
    wsgi("a body that raises in the middle, now and then", "failed", (0, 1, 3),
         COUNT + "    def body():\n        yield b'x'\n        if n % 3 == 0:\n"
         "            raise KeyError('late')\n    start('200 OK', [])\n    return body()\n"),
)  # fmt: skip

PROCESSES = (
    seen("leads a session of its own",
         "import os\nif os.getpid() != os.getsid(0):\n    os.setsid()\n"),
    seen("reaps every child", "import os, signal\ndef reap(*_):\n    try:\n"
         "        while os.waitpid(-1, os.WNOHANG)[0]:\n            pass\n    except OSError:\n"
         "        pass\nsignal.signal(signal.SIGCHLD, reap)\n"),
    seen("an alarm every 10 ms", "import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\n"
         "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\n"),
    seen("closes its output", "import os, sys\nsys.stdout.close()\nos.close(2)\n"),
    seen("has no sys.stderr", "import sys\nsys.stdout = sys.stderr = None\n"),
    seen("prints 100 MB at import",
         "import os\nfor _ in range(100):\n    os.write(2, b'x' * 1_000_000)\n"),
    seen("opens 900 files",
         "import os\nkept = [os.open('/dev/null', 0) for _ in range(900)]\n"),
    seen("removes its directory", "import os, tempfile\nplace = tempfile.mkdtemp()\n"
         "os.chdir(place)\nos.rmdir(place)\n"),
    seen("a umask that hides its files", "import os; os.umask(0o777)\n"),
    seen("does not sleep", "import time; time.sleep = lambda seconds: None\n"),
    seen("clocks that give None", "import time\ntime.time = time.monotonic = time.perf_counter = "
         "time.thread_time = time.process_time = lambda: None\n"),
    seen("a collector that is off and a switch interval of 100 s",
         "import gc, sys\ngc.disable()\nsys.setswitchinterval(100)\n"),
    seen("clears sys.modules", "import sys\nfor name in list(sys.modules):\n"
         "    if name in ('json', 'time', 'signal', 'threading', 'os'):\n"
         "        del sys.modules[name]\n"),
    seen("an audit hook that forbids sockets", "import sys\ndef hook(event, args):\n"
         "    if event == 'socket.connect':\n        raise RuntimeError('no network')\n"
         "sys.addaudithook(hook)\n"),
    wsgi("gives up root", "", ANY_ANSWER, "import os\nif os.geteuid() == 0:\n    os.setgid(65534)\n"
         "    os.setuid(65534)\n"),
    wsgi("a process name with parentheses, under load", "", ANY_ANSWER,
         "import ctypes\nctypes.CDLL(None).prctl(15, b'a) Z 1 (')\n"),
    wsgi("a second of processor time for each process", "died", (0, 1, 3),
         "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\n"
         "def app(environ, start):\n    sum(range(20_000))\n    return ok(start)\n"),
    wsgi("exits by a timer 4 s after its import", "", (0, 1, 3),
         "import os, threading\ntimer = threading.Timer(4, os._exit, [3])\ntimer.daemon = True\n"
         "timer.start()\n"),
)  # fmt: skip

FACTORIES = (
    boot("a factory that gives None", "NoneType", "def make():\n    pass\n",
         target="app.py:make()"),
    boot("an asynchronous factory", "coroutine", "async def make():\n    return app\n",
         target="app.py:make()"),
    Fault("a factory that is named without brackets", "make()", FAILED,
          HELPER + "def make():\n    return app\n", "app.py:make", quick=True),
    Fault("an instance whose class is callable", NOTHING_WRONG, SERVED,
          HELPER + "class App:\n    def __call__(self, environ, start):\n        return ok(start)\n"
          "application = App()\n", "app.py:application", LOOK, quick=True),
    Fault("a partial", NOTHING_WRONG, SERVED,
          HELPER + "import functools\ndef answer(greeting, environ, start):\n    return ok(start)\n"
          "served = functools.partial(answer, 'hi')\n", "app.py:served", LOOK, quick=True),
)  # fmt: skip

FAULTS = (*LIFESPANS, *REQUESTS, *PROCESSES, *FACTORIES)
