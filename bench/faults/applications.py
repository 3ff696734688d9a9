"""Applications with one fault each, served or only looked at."""

from __future__ import annotations

from bench.faults.fault import Fault

HELPER = """
def ok(start, body=b"hello", status="200 OK", headers=()):
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return [body]

def app(environ, start):
    return ok(start)

n = 0
"""
LOOK = ("--dry-run",)
NOTHING_WRONG = "app"
FAILED, USAGE, SERVED = (3,), (2,), (0,)
# A machine that others use may leave the verdict open, or spoil the measurement.
ANY_ANSWER = (0, 1)


def wsgi(name: str, says: str, codes: tuple[int, ...], body: str, **fields: object) -> Fault:
    return Fault(name, says, codes, HELPER + body, **fields)  # type: ignore[arg-type]


def boot(name: str, says: str, body: str, **fields: object) -> Fault:
    """Fails before any load."""
    return wsgi(name, says, FAILED, body, quick=True, **fields)


def seen(name: str, body: str, says: str = NOTHING_WRONG) -> Fault:
    """Is looked at and asked once, and nothing is wrong with it."""
    return wsgi(name, says, SERVED, body, flags=LOOK, quick=True)


COUNT = "def app(environ, start):\n    global n\n    n += 1\n"

AT_BOOT = (
    boot("raises at import", "boom at import", 'raise RuntimeError("boom at import")\n'),
    boot("exits at import", "exit", "import sys; sys.exit(5)\n"),
    boot("_exit at import", "exit code 9", "import os; os._exit(9)\n"),
    boot("segfault at import", "SIGSEGV", "import ctypes; ctypes.string_at(0)\n"),
    boot("a syntax error", "SyntaxError", "def app(environ, start:\n"),
    boot("not callable", "callable", 'app = "not callable"\n'),
    boot("no such module", "no_such_library", "import no_such_library\n"),
    boot("no such name", "nothing", "", target="app.py:nothing"),
    boot("a raising factory", "SECRET_KEY",
         "def make():\n    raise KeyError('SECRET_KEY')\n", target="app.py:make()"),
    boot("recursion at import", "RecursionError", "def f(): return f()\nf()\n"),
    boot("closes every descriptor at import", "descriptors that are not its own",
         "import os; os.closerange(3, 4096)\n"),
    boot("kills its parent at import", "SIGKILL",
         "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"),
    boot("out of memory at import", "MemoryError",
         "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))\n"
         "x = bytearray(1 << 29)\n"),
    wsgi("hangs at import", "did not end within", FAILED, "import time; time.sleep(10000)\n"),
    wsgi("serves by itself at import", "did not end within", FAILED,
         "from wsgiref.simple_server import make_server\n"
         'make_server("127.0.0.1", 0, app).serve_forever()\n'),
)  # fmt: skip

AT_THE_FIRST_REQUEST = (
    boot("answers 500", "answers 500", "def app(environ, start):\n    raise KeyError('x')\n"),
    boot("returns text", "answers 500",
         "def app(environ, start):\n    start('200 OK', [])\n    return ['text']\n"),
    boot("a wrong status", "answers 500",
         "def app(environ, start):\n    start('banana', [('x', 'y')])\n    return [b'x']\n"),
    wsgi("redirects elsewhere", "redirect", USAGE,
         "def app(environ, start):\n    return ok(start, b'', '302 Found', "
         "[('Location', 'http://example.com/')])\n", quick=True),
    wsgi("redirects in a loop", "redirect", USAGE,
         "def app(environ, start):\n    return ok(start, b'', '302 Found', "
         "[('Location', '/again' + environ['PATH_INFO'][:50])])\n", quick=True),
    wsgi("a body shorter than its length", "answered only errors", FAILED,
         "def app(environ, start):\n    start('200 OK', [('Content-Length', '100')])\n"
         "    return [b'short']\n"),
    boot("_exit in every request", "no route answers",
         "import os\ndef app(environ, start):\n    os._exit(9)\n"),
    wsgi("sleeps 40 s in every request", "does not answer within", FAILED,
         "import time\ndef app(environ, start):\n    time.sleep(40)\n    return ok(start)\n"),
    wsgi("an endless body", "does not answer within", FAILED,
         "import itertools\ndef app(environ, start):\n    start('200 OK', [])\n"
         "    return itertools.repeat(b'x' * 1000)\n"),
    wsgi("may open 12 files", "no route answers", FAILED,
         "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))\n"),
    Fault("ASGI: never answers", "answers 500", FAILED,
          "async def app(scope, receive, send):\n    return\n", quick=True),
    Fault("ASGI: startup fails", "no database", FAILED,
          "async def app(scope, receive, send):\n    await receive()\n"
          "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n",
          quick=True),
    Fault("ASGI: startup hangs", "startup", FAILED,
          "import asyncio\nasync def app(scope, receive, send):\n    await asyncio.sleep(10000)\n"),
)  # fmt: skip

HTTP = (
    "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
    "    await send({'type': 'http.response.body', 'body': b'hi'})\n"
)
LOOKED_AT = (
    seen("80 MB at import", "x = bytearray(b'x' * 80_000_000)\n"),
    seen("changes its directory", "import os; os.chdir('/')\n"),
    seen("clears its environment", "import os; os.environ.clear()\n"),
    seen("prints binary", "import os; os.write(2, bytes(range(256)))\n"),
    seen("replaces signals",
         "import signal\nfor s in (15, 2, 3, 1, 10, 12, 17):\n"
         "    signal.signal(s, signal.SIG_IGN)\n"
         "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"),
    seen("2,000 threads", "import threading, time\nfor _ in range(2000):\n"
         "    threading.Thread(target=time.sleep, args=(10000,), daemon=True).start()\n"),
    seen("forks at import", "import os\nif os.fork() == 0:\n    import time; time.sleep(600)\n"
         "    os._exit(0)\n"),
    seen("leaves a daemon without environment",
         "import os, subprocess\nsubprocess.Popen(['sh', '-c', 'setsid env -i python3 -c "
         "\"import time; time.sleep(600)\" FAULT-' + os.environ['FAULT'] + "
         "' >/dev/null 2>&1 </dev/null &'])\n"),
    seen("a thread and an exit handler that do not end",
         "import atexit, threading, time\natexit.register(time.sleep, 1000)\n"
         "threading.Thread(target=time.sleep, args=(1000,)).start()\n"),
    seen("answers without a body",
         "def app(environ, start):\n    start('204 No Content', [])\n    return []\n"),
    seen("has a main guard", "if __name__ == '__main__':\n    raise SystemExit\n"),
    seen("freezes the clocks", "import time\ntime.monotonic = time.perf_counter = time.time = "
         "lambda: 0.0\n"),
    Fault("ASGI: returns on lifespan", NOTHING_WRONG, SERVED,
          "async def app(scope, receive, send):\n    if scope['type'] != 'http': return\n" + HTTP,
          flags=LOOK, quick=True),
    Fault("ASGI: raises on lifespan", NOTHING_WRONG, SERVED,
          "async def app(scope, receive, send):\n    assert scope['type'] == 'http'\n" + HTTP,
          flags=LOOK, quick=True),
)  # fmt: skip

UNDER_LOAD = (
    wsgi("freezes the clocks, under load", "", ANY_ANSWER,
         "import time\ntime.monotonic = time.perf_counter = time.time = lambda: 0.0\n"),
    wsgi("clocks that jump, under load", "", ANY_ANSWER,
         "import random, time\nreal = time.time, time.monotonic\n"
         "time.time = lambda: real[0]() + random.uniform(-1e6, 1e6)\n"
         "time.monotonic = lambda: real[1]() + random.uniform(-1e6, 1e6)\n"),
    wsgi("leaks 20 MB a request", "leak", (0, 1, 3),
         "kept = []\ndef app(environ, start):\n    kept.append(bytearray(b'x' * 20_000_000))\n"
         "    return ok(start)\n"),
    wsgi("_exit in every 200th request", "died under load", ANY_ANSWER,
         COUNT + "    if n % 200 == 0:\n        import os; os._exit(9)\n    return ok(start)\n"),
    wsgi("segfault in every 200th request", "died under load", ANY_ANSWER,
         COUNT + "    if n % 200 == 0:\n        import ctypes; ctypes.string_at(0)\n"
         "    return ok(start)\n"),
    wsgi("closes every descriptor in a request", "died under load", (0, 1, 3),
         COUNT + "    if n == 100:\n        import os; os.closerange(0, 4096)\n"
         "    return ok(start)\n"),
    wsgi("kills its master", "", (0, 1, 3),
         COUNT + "    if n == 100:\n        import os; os.kill(os.getppid(), 9)\n"
         "    return ok(start)\n"),
    wsgi("terminates its group", "", (0, 1, 3),
         COUNT + "    if n == 100:\n        import os; os.killpg(0, 15)\n    return ok(start)\n"),
    wsgi("raises after 100 requests", "failed", (0, 1, 3),
         COUNT + "    if n > 100:\n        raise KeyError('late')\n    return ok(start)\n"),
    wsgi("raises in a thread and at exit", "", ANY_ANSWER,
         "import atexit, threading\ndef fail():\n    raise KeyError('elsewhere')\n"
         "atexit.register(fail)\ndef app(environ, start):\n"
         "    threading.Thread(target=fail).start()\n    return ok(start)\n"),
    wsgi("malformed headers now and then", "failed", (0, 1, 3),
         COUNT + "    if n > 3 and n % 2:\n"
         "        start('200 OK', [('X-Bad', 'a\\r\\nSet-Cookie: x=1')])\n"
         "        return [b'hello']\n    return ok(start)\n"),
    wsgi("a body of 1 GB", "more than 5 MB", FAILED,
         "def app(environ, start):\n    start('200 OK', [('Content-Length', str(1 << 30))])\n"
         "    return (b'x' * (1 << 20) for _ in range(1 << 10))\n"),
    wsgi("a body that ends early now and then", "failed", (0, 1, 3),
         COUNT + "    if n % 3 == 0:\n        start('200 OK', [('Content-Length', '100')])\n"
         "        return [b'short']\n    return ok(start)\n"),
    wsgi("sleeps 40 s in every 200th request", "", (0, 1, 3),
         "import time\n" + COUNT + "    if n % 200 == 0:\n        time.sleep(40)\n"
         "    return ok(start)\n"),
    wsgi("the first request takes 6 s", "", ANY_ANSWER,
         COUNT + "    if n == 1:\n        import time; time.sleep(6)\n    return ok(start)\n"),
    wsgi("boots in 15 s", "give --time-budget", FAILED, "import time; time.sleep(15)\n"),
    wsgi("every second answer is 500", "failed", (0, 1, 3),
         COUNT + "    if n % 2:\n        return ok(start)\n"
         "    return ok(start, b'err', '500 Internal Server Error')\n"),
    wsgi("429 after 50 requests", "429", (0, 1, 3),
         COUNT + "    if n > 50:\n        return ok(start, b'', '429 Too Many Requests')\n"
         "    return ok(start)\n"),
    wsgi("a cookie in every answer", "", ANY_ANSWER,
         COUNT + "    return ok(start, headers=[('Set-Cookie', 'c%d=%s' % (n, 'v' * 100))])\n"),
    wsgi("does not end on TERM", "had not ended", ANY_ANSWER,
         "import atexit, threading, time\natexit.register(time.sleep, 1000)\n"
         "threading.Thread(target=time.sleep, args=(1000,)).start()\n"),
    wsgi("holds the GIL for ever", "", (0, 1, 3),
         COUNT + "    if n == 150:\n        import ctypes; ctypes.PyDLL(None).sleep(1000)\n"
         "    return ok(start)\n"),
    wsgi("endless recursion in C's stack", "", (0, 1, 3),
         "import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\n" + COUNT
         + "    if n > 50:\n        f()\n    return ok(start)\n"),
)  # fmt: skip

FAULTS = (*AT_BOOT, *AT_THE_FIRST_REQUEST, *LOOKED_AT, *UNDER_LOAD)
