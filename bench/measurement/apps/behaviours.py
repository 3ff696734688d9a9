"""Ways in which a worker's memory behaves, as one WSGI application each: the leak corpus.

``BEHAVIOUR=name`` chooses one. What a request does beside (a quarter of a millisecond of ordinary
work) is the same everywhere. ``python behaviours.py NAME N`` does N requests in this process,
without a server, and prints the bytes each of them made the process larger by once the first
quarter is over: what the tool's slope is compared with.

Standard library only: it runs in the app's interpreter.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import gc
import importlib
import io
import itertools
import json
import logging
import logging.handlers
import mmap
import os
import queue
import random
import re
import socket
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable

Body = Callable[[], None]
KIB = 1 << 10
MIB = 1 << 20
RARE_MODULES = """
    decimal fractions statistics difflib csv configparser plistlib html.parser
    xml.dom.minidom xml.etree.ElementTree email.mime.multipart http.cookiejar ftplib
    imaplib smtplib tarfile zipfile lzma bz2 unittest.mock pydoc doctest optparse
    cProfile pstats ipaddress
"""


# ---- memory that settles


def flat() -> Body:
    return lambda: None


def lru_small() -> Body:
    @functools.lru_cache(maxsize=128)
    def value(key: int) -> bytes:
        return bytes(KIB)

    return lambda: len(value(random.randrange(10_000)))


def lru_rare_keys() -> Body:
    """Many keys, each rare, and room for two thousand of them."""

    @functools.lru_cache(maxsize=2000)
    def value(key: int) -> bytes:
        return bytes(2 * KIB)

    return lambda: len(value(random.randrange(50_000)))


def lru_large() -> Body:
    @functools.lru_cache(maxsize=1000)
    def value(key: int) -> bytes:
        return os.urandom(16 * KIB)

    return lambda: len(value(random.randrange(100_000)))


def keys_by_popularity() -> Body:
    """A cache without a limit over 3000 keys of which few are common: it fills ever more slowly."""
    weights = [1 / (n + 1) for n in range(3000)]
    cumulated = list(itertools.accumulate(weights))
    cache: dict[int, bytes] = {}

    def body() -> None:
        (key,) = random.choices(range(3000), cum_weights=cumulated)
        if key not in cache:
            cache[key] = bytes(KIB)

    return body


def fills_then_full(entries: int, size: int) -> Callable[[], Body]:
    """Every request adds an entry until the cache is full; then it evicts the oldest."""

    def make() -> Body:
        cache: collections.OrderedDict[int, bytes] = collections.OrderedDict()
        number = itertools.count()

        def body() -> None:
            cache[next(number)] = bytes(size)
            if len(cache) > entries:
                cache.popitem(last=False)

        return body

    return make


def fills_then_stays(entries: int, size: int) -> Callable[[], Body]:
    """Every request adds an entry until the cache is full; then it keeps what it has."""

    def make() -> Body:
        cache: list[bytes] = []

        def body() -> None:
            if len(cache) < entries:
                cache.append(bytes(size))

        return body

    return make


def random_replacement() -> Body:
    """Values of many sizes, up to 8 MB of them: the heap is full of holes."""
    cache: dict[int, bytes] = {}
    held = 0

    def body() -> None:
        nonlocal held
        value = bytes(int(random.paretovariate(1.2) * 500) % (64 * KIB))
        key = random.randrange(1 << 30)
        cache[key] = value
        held += len(value)
        while held > 8 * MIB:
            victim = next(itertools.islice(cache, random.randrange(min(len(cache), 20)), None))
            held -= len(cache.pop(victim))

    return body


def cleared_when_full() -> Body:
    cache: dict[int, bytes] = {}

    def body() -> None:
        cache[random.randrange(1 << 40)] = bytes(2 * KIB)
        if len(cache) > 1500:
            cache.clear()

    return body


def expires_by_time() -> Body:
    kept: collections.deque[tuple[float, bytes]] = collections.deque()

    def body() -> None:
        now = time.monotonic()
        kept.append((now, bytes(4 * KIB)))
        while kept and now - kept[0][0] > 3.0:
            kept.popleft()

    return body


def holes() -> Body:
    """Long-lived values are allotted between short-lived ones of other sizes."""
    survivors: collections.deque[bytes] = collections.deque(maxlen=400)

    def body() -> None:
        passing = [bytes(random.randrange(KIB, 32 * KIB)) for _ in range(20)]
        survivors.append(bytes(random.randrange(600, 4 * KIB)))
        del passing

    return body


def a_burst_then_holes() -> Body:
    """Once in a while much is built and nearly all of it thrown away: the heap stays as large."""
    number = itertools.count(1)
    kept: collections.deque[bytes] = collections.deque(maxlen=300)

    def body() -> None:
        if next(number) % 400 == 0:
            parts = [bytes(3000) for _ in range(2000)]
            kept.extend(parts[::100])

    return body


def lazy_imports() -> Body:
    """A module at a time, as rarely used views are reached."""
    names = iter(RARE_MODULES.split())
    number = itertools.count(1)

    def body() -> None:
        if next(number) % 150 == 0:
            name = next(names, None)
            if name:
                importlib.import_module(name)

    return body


def one_late_import() -> Body:
    number = itertools.count(1)

    def body() -> None:
        if next(number) == 3000:
            importlib.import_module("unittest.mock")
            importlib.import_module("multiprocessing.managers")
            importlib.import_module("xml.sax.expatreader")

    return body


def big_answers_now_and_then() -> Body:
    number = itertools.count(1)

    def body() -> None:
        if next(number) % 300 == 0:
            len(json.dumps([{"n": n, "text": "x" * 50} for n in range(20_000)]))

    return body


def ever_larger_answers() -> Body:
    """The largest answer so far grows as extremes do, with the logarithm of the requests."""

    def body() -> None:
        size = int(random.expovariate(1 / 40_000))
        b"".join(bytes(100) for _ in range(size // 100))

    return body


def pool_of_connections() -> Body:
    """Twenty connections with their buffers, opened as rare requests want one more."""
    pool: list[tuple[socket.socket, socket.socket, bytearray]] = []
    number = itertools.count(1)

    def body() -> None:
        n = next(number)
        if len(pool) < 20 and n % 120 == 0:
            pool.append((*socket.socketpair(), bytearray(os.urandom(128 * KIB))))
        if pool:
            left, right, _ = random.choice(pool)
            left.send(b"x")
            right.recv(1)

    return body


def database_pages() -> Body:
    """A database connection's page cache fills up to its limit of 4 MB, one for each thread."""
    here = threading.local()
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"pages-{os.getpid()}.db")

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path)
        connection.execute("pragma cache_size = -4096")
        connection.execute("create table if not exists t (id integer primary key, text text)")
        if not connection.execute("select count(*) from t").fetchone()[0]:
            rows = ((n, "x" * 900) for n in range(8000))
            connection.executemany("insert or ignore into t values (?, ?)", rows)
            connection.commit()
        return connection

    def body() -> None:
        if not hasattr(here, "connection"):
            here.connection = connect()
        n = random.randrange(8000)
        here.connection.execute("select text from t where id = ?", (n,)).fetchone()

    connect().close()
    return body


def buffers_of_threads() -> Body:
    """A buffer for each thread, as large as the largest it ever had to hold."""
    here = threading.local()

    def body() -> None:
        size = min(int(random.paretovariate(1.0) * KIB), 512 * KIB)
        if len(getattr(here, "buffer", b"")) < size:
            here.buffer = bytearray(os.urandom(size))

    return body


def logging_in_batches() -> Body:
    handler = logging.handlers.MemoryHandler(2000, target=logging.NullHandler())
    log = logging.getLogger("behaviours.batches")
    log.propagate = False
    log.setLevel("INFO")
    log.addHandler(handler)
    return lambda: log.info("a request by %s took %.3f s", "x" * 300, random.random())


def ring_of_records() -> Body:
    kept: collections.deque[str] = collections.deque(maxlen=3000)
    return lambda: kept.append(f"{random.randrange(1 << 60):030d}" * 20)


def cycles() -> Body:
    """Garbage that only the collector finds."""

    class Node:
        def __init__(self) -> None:
            self.me, self.text = self, bytes(500)

    def body() -> None:
        for _ in range(20):
            Node()

    return body


def cycles_in_a_large_heap() -> Body:
    """With much that lives long, the oldest generation is collected rarely: a long sawtooth."""
    static = [[n] for n in range(300_000)]
    gc.collect()

    class Node:
        def __init__(self) -> None:
            self.me, self.text = self, bytes(200)

    recent: collections.deque[Node] = collections.deque(maxlen=3000)

    def body() -> None:
        assert static
        for _ in range(6):
            recent.append(Node())

    return body


def weak_values() -> Body:
    class Value:
        def __init__(self) -> None:
            self.text = bytes(2 * KIB)

    known: weakref.WeakValueDictionary[int, Value] = weakref.WeakValueDictionary()
    strong: collections.deque[Value] = collections.deque(maxlen=800)

    def body() -> None:
        value = Value()
        known[random.randrange(1 << 40)] = value
        strong.append(value)

    return body


def patterns() -> Body:
    """More regular expressions than the cache of re has room for."""
    return lambda: re.compile(f"a{random.randrange(3000)}[b-f]+(c|d)*") and None


def templates() -> Body:
    """Four hundred templates, compiled when they are first asked for."""
    compiled: dict[int, object] = {}

    def body() -> None:
        n = int(random.paretovariate(0.5)) % 400
        if n not in compiled:
            source = f"def render_{n}(x):\n" + "".join(
                f"    y{i} = x + {n * 100 + i}\n" for i in range(60)
            )
            compiled[n] = compile(source, f"template-{n}", "exec")

    return body


def sessions() -> Body:
    """A session for each visitor, forgotten 1200 requests later."""
    kept: collections.OrderedDict[int, dict[str, str]] = collections.OrderedDict()
    number = itertools.count()

    def body() -> None:
        n = next(number)
        kept[n] = {"user": str(n), "cart": "x" * random.randrange(200, 3000)}
        kept.pop(n - 1200, None)

    return body


def queue_that_breathes() -> Body:
    """A backlog of work: it comes and goes."""
    backlog: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def body() -> None:
        if backlog.qsize() < 50 + 500 * (1 + (time.monotonic() % 7 < 3.5)):
            backlog.put(bytes(8 * KIB))
        elif not backlog.empty():
            backlog.get_nowait()
            if random.random() < 0.3 and not backlog.empty():
                backlog.get_nowait()

    return body


def labels_of_metrics() -> Body:
    counters: dict[tuple[str, int], list[float]] = {}

    def body() -> None:
        key = ("GET", int(random.paretovariate(0.7)) % 2500)
        counters.setdefault(key, [0.0] * 30)[0] += 1

    return body


def a_map_touched_bit_by_bit() -> Body:
    """Sixteen megabytes reserved at once; the kernel gives each page when it is first written."""
    area = mmap.mmap(-1, 16 * MIB)
    number = itertools.count()

    def body() -> None:
        area[next(number) * 2 * 4096 % (8 * MIB)] = 1

    return body


def text_that_is_cut() -> Body:
    text = io.StringIO()

    def body() -> None:
        text.write("x" * 4000)
        if text.tell() > 4 * MIB:
            text.seek(0)
            text.truncate()

    return body


# ---- memory that is never given back


def keeps(size: int, pause_s: float = 0.0) -> Callable[[], Body]:
    """Every request appends so many bytes to a chain that is never let go."""

    def make() -> Body:
        last: object = None

        def body() -> None:
            nonlocal last
            # Written, or the kernel gives no pages; made first, or another thread comes between.
            value = b"x" * size
            # A chain, not a list: the list itself would grow in leaps.
            last = (last, value)
            if pause_s:
                _pause(pause_s)

        return body

    return make


def keeps_every_tenth(size: int) -> Callable[[], Body]:
    def make() -> Body:
        last: object = None
        number = itertools.count()

        def body() -> None:
            nonlocal last
            if next(number) % 10 == 0:
                value = b"x" * size
                last = (last, value)

        return body

    return make


def keeps_beside_a_cache() -> Body:
    """A healthy cache fills while the leak goes on."""
    fill, keep = lru_rare_keys(), keeps(400)()

    def body() -> None:
        fill()
        keep()

    return body


def keeps_beside_a_sawtooth() -> Body:
    saw, keep = cleared_when_full(), keeps(2 * KIB)()

    def body() -> None:
        saw()
        keep()

    return body


def subscribers() -> Body:
    """Every request registers a callback and nobody takes it away."""
    subscribed: list[Callable[[], object]] = []

    def body() -> None:
        payload = bytes(700)
        subscribed.append(lambda: payload)

    return body


def unique_keys() -> Body:
    """lru_cache(maxsize=None) with a key that never comes again."""
    number = itertools.count()

    @functools.cache
    def value(key: str) -> bytes:
        return bytes(300)

    return lambda: len(value(f"token-{next(number):012d}"))


def kept_by_threads() -> Body:
    """Each thread keeps its own."""
    here = threading.local()

    def body() -> None:
        here.last = (getattr(here, "last", None), bytes(1 * KIB))

    return body


def outside_of_python() -> Body:
    """A C library that never frees: invisible to Python's own accounting."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p

    def body() -> None:
        block = libc.malloc(2000)
        ctypes.memset(block, 1, 2000)

    return body


def cycles_without_collector() -> Body:
    """The app has switched the collector off, so its cycles stay."""
    gc.disable()

    class Node:
        def __init__(self) -> None:
            self.me, self.text = self, bytes(1000)

    return lambda: Node() and None


# name -> maker
SETTLING: dict[str, Callable[[], Body]] = {
    "flat": flat,
    "lru_small": lru_small,
    "lru_rare_keys": lru_rare_keys,
    "lru_large": lru_large,
    "keys_by_popularity": keys_by_popularity,
    "full_after_300": fills_then_full(300, 20 * KIB),
    "full_after_1500": fills_then_full(1500, 4 * KIB),
    "full_after_4000": fills_then_full(4000, 2 * KIB),
    "stays_after_2500": fills_then_stays(2500, 1 * KIB),
    "random_replacement": random_replacement,
    "cleared_when_full": cleared_when_full,
    "expires_by_time": expires_by_time,
    "holes": holes,
    "a_burst_then_holes": a_burst_then_holes,
    "lazy_imports": lazy_imports,
    "one_late_import": one_late_import,
    "big_answers_now_and_then": big_answers_now_and_then,
    "ever_larger_answers": ever_larger_answers,
    "pool_of_connections": pool_of_connections,
    "database_pages": database_pages,
    "buffers_of_threads": buffers_of_threads,
    "logging_in_batches": logging_in_batches,
    "ring_of_records": ring_of_records,
    "cycles": cycles,
    "cycles_in_a_large_heap": cycles_in_a_large_heap,
    "weak_values": weak_values,
    "patterns": patterns,
    "templates": templates,
    "sessions": sessions,
    "queue_that_breathes": queue_that_breathes,
    "labels_of_metrics": labels_of_metrics,
    "a_map_touched_bit_by_bit": a_map_touched_bit_by_bit,
    "text_that_is_cut": text_that_is_cut,
}
LEAKING: dict[str, Callable[[], Body]] = {
    "keeps_100": keeps(3),  # 48 bytes and a link of 64
    "keeps_500": keeps(500),
    "keeps_1k_every_tenth": keeps_every_tenth(1000),
    "keeps_beside_a_cache": keeps_beside_a_cache,
    "keeps_beside_a_sawtooth": keeps_beside_a_sawtooth,
    "subscribers": subscribers,
    "unique_keys": unique_keys,
    "kept_by_threads": kept_by_threads,
    "outside_of_python": outside_of_python,
    "cycles_without_collector": cycles_without_collector,
    "keeps_4k": keeps(4 * KIB),
    "keeps_16k": keeps(16 * KIB),
    "keeps_64k": keeps(64 * KIB, 0.004),
    "keeps_256k": keeps(256 * KIB, 0.02),
    "keeps_1m": keeps(1 * MIB, 0.08),
}
BEHAVIOURS = SETTLING | LEAKING
# Where the lines that keep stand, if not in the maker itself.
KEEPERS: dict[str, Callable[..., Body]] = {
    "keeps_beside_a_cache": keeps(0),
    "keeps_beside_a_sawtooth": keeps(0),
}
OUTSIDE = ("outside_of_python",)  # held by nothing that Python knows

_rows = [{"id": n, "name": f"item {n}", "price": n * 1.5, "tags": ["a", "b"]} for n in range(40)]


def _pause(seconds: float) -> None:
    if __name__ != "__main__":  # the truth needs no waiting
        time.sleep(seconds)


def work() -> bytes:
    """A quarter of a millisecond of what handlers do."""
    text = json.dumps({"items": _rows, "at": time.time()})
    for _ in range(2):
        text = json.dumps(json.loads(text))
    return text.encode()


def make(name: str) -> Callable[..., list[bytes]]:
    body = BEHAVIOURS[name]()

    def application(
        environ: dict[str, object], start_response: Callable[..., object]
    ) -> list[bytes]:
        body()
        answer = work()
        start_response(
            "200 OK",
            [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))],
        )
        return [answer]

    return application


def anonymous_bytes() -> int:
    """Resident and backed by no file, of this process."""
    with open("/proc/self/statm", "rb") as file:
        fields = file.read().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def truth(name: str, requests: int) -> float:
    application = make(name)
    begin = requests // 4
    before = 0
    for n in range(requests):
        if n == begin:
            before = anonymous_bytes()
        application({}, lambda *_: None)
    return (anonymous_bytes() - before) / (requests - begin)


if __name__ == "__main__":
    print(truth(sys.argv[1], int(sys.argv[2])))
else:
    application = make(os.environ.get("BEHAVIOUR", "flat"))
