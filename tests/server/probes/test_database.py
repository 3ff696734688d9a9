"""Database probes on real drivers and a real Postgres, against waits of known length.

Each case runs in an interpreter of its own: probes must be there before the driver's import, and a
patched driver must not leak into other tests.
"""

import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


PREAMBLE = """
import asyncio, json, os, sys, time
from pretune.server.probes import account, database, outbound
from pretune.server.telemetry import run_queue_clock
database.install()
url = sys.argv[1]
mine = account.Account()
queue = run_queue_clock()
queued = queue()

def report(started, cpu):
    print(json.dumps(dict(db=mine.db, calls=mine.db_calls, wall=time.perf_counter() - started,
                          cpu=time.process_time() - cpu, runq=queue() - queued)))

def in_request(body):
    account.current.set(mine)
    started, cpu = time.perf_counter(), time.process_time()
    body()
    report(started, cpu)

def in_async_request(body):
    async def main():
        context = await body.prepare() if hasattr(body, "prepare") else None
        account.current.set(mine)
        started, cpu = time.perf_counter(), time.process_time()
        await body()
        report(started, cpu)
    asyncio.run(main())
"""


def run(code, url, **env):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(code), url],
        capture_output=True,
        text=True,
        timeout=60,
        env={**__import__("os").environ, **env},
    )
    assert done.returncode == 0, done.stderr
    assert "probe" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def needs(driver):
    if importlib.util.find_spec(driver) is None:
        pytest.skip(f"{driver} is not installed")


# driver, code in which two sleeps of 10 ms happen, calls
TWO_SLEEPS = {
    "psycopg autocommit": (
        "psycopg",
        """
        import psycopg
        c = psycopg.connect(url, autocommit=True)
        @in_request
        def body():
            c.execute("select pg_sleep(0.01)")
            with c.cursor() as cursor:
                cursor.execute("select pg_sleep(0.01)").fetchall()
        """,
        2,
    ),
    "psycopg transaction": (
        "psycopg",
        """
        import psycopg
        c = psycopg.connect(url)
        @in_request
        def body():
            c.execute("select pg_sleep(0.01)")
            c.execute("select pg_sleep(0.01)")
            c.commit()
            c.rollback()  # nothing to roll back, nothing asked
        """,
        3,
    ),
    "psycopg client cursor": (
        "psycopg",
        """
        import psycopg
        c = psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor)
        @in_request
        def body():
            for i in range(2):
                c.execute("select pg_sleep(%s)", [0.01])
        """,
        2,
    ),
    "psycopg stream": (
        "psycopg",
        """
        import psycopg
        c = psycopg.connect(url, autocommit=True)
        @in_request
        def body():
            rows = list(c.cursor().stream("select pg_sleep(0.01) from generate_series(1, 2)"))
            assert len(rows) == 2
        """,
        1,
    ),
    "psycopg imported before the probes": (
        "psycopg",
        """
        from pretune.server.probes import imports
        for name in [n for n in imports._callbacks]:
            imports._callbacks[name].clear()
        import psycopg
        database.install()
        @in_request
        def body():
            with psycopg.connect(url, autocommit=True) as c:
                c.execute("select pg_sleep(0.01)")
                c.execute("select pg_sleep(0.01)")
        """,
        3,
    ),
    "psycopg async": (
        "psycopg",
        """
        import psycopg
        async def body():
            await c.execute("select pg_sleep(0.01)")
            async with c.cursor() as cursor:
                await cursor.execute("select pg_sleep(0.01)")
                await cursor.fetchall()
        async def prepare():
            global c
            c = await psycopg.AsyncConnection.connect(url, autocommit=True)
        body.prepare = prepare
        in_async_request(body)
        """,
        2,
    ),
    "psycopg2 autocommit": (
        "psycopg2",
        """
        import psycopg2
        c = psycopg2.connect(url)
        c.autocommit = True
        @in_request
        def body():
            with c.cursor() as cursor:
                cursor.execute("select pg_sleep(0.01)")
                cursor.execute("select pg_sleep(0.01)")
                cursor.fetchall()
        """,
        2,
    ),
    "psycopg2 with the app's own classes": (
        "psycopg2",
        """
        import psycopg2.extras
        class Own(psycopg2.extensions.connection):
            pass
        c = psycopg2.connect(url, connection_factory=Own, cursor_factory=psycopg2.extras.DictCursor)
        assert isinstance(c, Own)
        @in_request
        def body():
            with c.cursor() as cursor:
                cursor.execute("select pg_sleep(0.01) as a")
                assert cursor.fetchone()["a"] == ""
            with c.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute("select pg_sleep(0.01) as a")
                assert cursor.fetchone() == {"a": ""}
            c.commit()
        """,
        3,
    ),
    "psycopg2 connection that brings its cursor": (
        "psycopg2",
        """
        import psycopg2.extras
        c = psycopg2.connect(url, connection_factory=psycopg2.extras.DictConnection)
        @in_request
        def body():
            cursor = c.cursor()
            cursor.execute("select pg_sleep(0.01) as a")
            assert cursor.fetchone()["a"] == ""
            cursor.execute("select pg_sleep(0.01) as a")
        """,
        2,
    ),
    "psycopg2 named cursor": (
        "psycopg2",
        """
        import psycopg2
        c = psycopg2.connect(url)
        @in_request
        def body():
            with c.cursor("named") as cursor:
                cursor.execute("select pg_sleep(0.01) from generate_series(1, 2)")
                assert len(cursor.fetchall()) == 2
        """,
        2,
    ),
    "asyncpg": (
        "asyncpg",
        """
        import asyncpg
        async def body():
            await c.execute("select pg_sleep(0.01)")
            await c.fetchrow("select pg_sleep($1)", 0.01)
        async def prepare():
            global c
            c = await asyncpg.connect(url)
        body.prepare = prepare
        in_async_request(body)
        """,
        2,
    ),
    "asyncpg pool and prepared statement": (
        "asyncpg",
        """
        import asyncpg
        async def body():
            async with pool.acquire() as c:
                statement = await c.prepare("select pg_sleep($1)")
                await statement.fetch(0.01)
                await statement.fetchval(0.01)
            await pool.close()
        async def prepare():
            global pool
            pool = await asyncpg.create_pool(url, min_size=1, max_size=1)
        body.prepare = prepare
        in_async_request(body)
        """,
        None,
    ),
}


@pytest.mark.parametrize("case", TWO_SLEEPS)
def test_two_sleeps_of_ten_ms_are_the_database_time(case, url):
    driver, code, calls = TWO_SLEEPS[case]
    needs(driver)
    got = run(code, url)
    # Never less than Postgres slept (but for a thread that was put aside just after it asked),
    # never more than the request took.
    assert got["db"] + got["runq"] >= 0.020 * 0.98
    assert got["db"] <= got["wall"]
    if calls is not None:
        assert got["calls"] == calls


def test_connecting_is_database_time(url):
    got = run(
        """
        import psycopg
        @in_request
        def body():
            for _ in range(5):  # on a busy machine one may be all CPU and run queue
                psycopg.connect(url).close()
        """,
        url,
    )
    assert got["calls"] == 5
    assert 0 < got["db"] <= got["wall"]


def test_work_in_the_driver_is_not_database_time(url):
    # 200,000 rows become Python objects: CPU of the request, not of the database.
    got = run(
        """
        import psycopg
        c = psycopg.connect(url, autocommit=True)
        @in_request
        def body():
            c.execute("select i, i::text from generate_series(1, 200000) i").fetchall()
        """,
        url,
    )
    assert got["db"] + got["cpu"] <= got["wall"] * 1.1 + 0.01


def test_outside_a_request_nothing_is_counted(url):
    got = run(
        """
        import psycopg
        c = psycopg.connect(url)
        c.execute("select pg_sleep(0.01)")
        report(time.perf_counter(), 0)
        """,
        url,
    )
    assert got["db"] == 0
    assert got["calls"] == 0


def test_computing_between_queries_is_not_database_time(url):
    got = run(
        """
        import psycopg
        c = psycopg.connect(url, autocommit=True)
        c.execute("select 1")
        @in_request
        def body():
            c.execute("select pg_sleep(0.01)")
            end = time.process_time() + 0.2
            while time.process_time() < end:
                pass
        """,
        url,
    )
    assert got["calls"] == 1
    assert got["db"] <= got["wall"] - 0.2


def test_other_tasks_on_the_loop_do_not_stop_the_clock_of_the_one_that_waits(url):
    needs("asyncpg")
    got = run(
        """
        import asyncpg
        async def body():
            async def waits():
                await c.execute("select pg_sleep(0.05)")
            async def is_busy():
                for i in range(10):
                    await asyncio.sleep(0)
            await asyncio.gather(waits(), is_busy())
        async def prepare():
            global c
            c = await asyncpg.connect(url)
        body.prepare = prepare
        in_async_request(body)
        """,
        url,
    )
    assert got["calls"] == 1
    assert 0.05 * 0.98 <= got["db"] <= got["wall"]


def test_an_error_of_the_database_reaches_the_app_and_is_counted(url):
    got = run(
        """
        import psycopg
        c = psycopg.connect(url, autocommit=True)
        @in_request
        def body():
            try:
                c.execute("select nonsense")
            except psycopg.errors.UndefinedColumn:
                pass
            else:
                raise SystemExit("no error")
        """,
        url,
    )
    assert got["calls"] == 1


def test_a_cancelled_query_is_cancelled_for_asyncpg(url):
    needs("asyncpg")
    got = run(
        """
        import asyncpg
        async def body():
            try:
                await asyncio.wait_for(c.execute("select pg_sleep(30)"), 0.05)
            except asyncio.TimeoutError:
                assert await c.fetchval("select 1") == 1
            else:
                raise SystemExit("no timeout")
        async def prepare():
            global c
            c = await asyncpg.connect(url)
        body.prepare = prepare
        in_async_request(body)
        """,
        url,
    )
    assert 0.05 * 0.9 <= got["db"] <= got["wall"]


def test_asyncpg_carries_the_workers_name(url):
    needs("asyncpg")
    done = run(
        """
        import asyncpg
        async def main():
            c = await asyncpg.connect(url)
            print(json.dumps(await c.fetchval("show application_name")))
        asyncio.run(main())
        """,
        url,
        PGAPPNAME="pretune-42",
    )
    assert done == "pretune-42"


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
def test_the_drivers_are_not_imported_by_the_probes(driver, url):
    assert run(f"print(json.dumps({driver!r} in sys.modules))", url) is False
