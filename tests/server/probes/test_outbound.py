"""Outbound probes against a server of this test that takes a known time to answer."""

import importlib.util
import json
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

HEAD_S, BODY_S = 0.03, 0.02


class Slow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(HEAD_S)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.flush()
        time.sleep(BODY_S)
        self.wfile.write(b"body")

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


PREAMBLE = """
import asyncio, json, sys, time
from pretune.server.probes import account, outbound
outbound.install()
url = sys.argv[1]
mine = account.Account()
account.current.set(mine)
started = time.perf_counter()
"""
REPORT = """
print(json.dumps(dict(out=mine.out, calls=mine.out_calls, db=mine.db_calls,
                      wall=time.perf_counter() - started)))
"""

CLIENTS = {
    "http.client": """
        import http.client
        c = http.client.HTTPConnection(url[7:-1])
        c.request("GET", "/")
        assert c.getresponse().read() == b"body"
        c.close()
    """,
    "urllib": """
        import urllib.request
        with urllib.request.urlopen(url) as response:
            assert response.read() == b"body"
    """,
    "urllib3": """
        import urllib3
        assert urllib3.PoolManager().request("GET", url).data == b"body"
    """,
    "requests": """
        import requests
        assert requests.get(url).content == b"body"
    """,
    "httpx": """
        import httpx
        started = time.perf_counter()
        assert httpx.get(url).content == b"body"
    """,
    "httpx async": """
        import httpx
        async def main():
            async with httpx.AsyncClient() as client:
                assert (await client.get(url)).content == b"body"
        asyncio.run(main())
    """,
    "aiohttp": """
        import aiohttp
        async def main():
            async with aiohttp.ClientSession() as session:
                async with session.get(url) as response:
                    assert await response.read() == b"body"
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_the_whole_exchange_is_one_call_and_its_wait(client, address):
    if client.split()[0] not in ("http.client", "urllib") and not importlib.util.find_spec(
        client.split()[0]
    ):
        pytest.skip(f"{client} is not installed")
    code = PREAMBLE + textwrap.dedent(CLIENTS[client]) + REPORT
    done = subprocess.run(
        [sys.executable, "-c", code, address], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "probe" not in done.stderr
    got = json.loads(done.stdout)
    assert got["calls"] == 1
    assert got["db"] == 0
    assert (HEAD_S + BODY_S) * 0.95 <= got["out"] <= got["wall"]


@pytest.mark.parametrize("module", ["http.client", "httpx", "aiohttp", "urllib3"])
def test_the_clients_are_not_imported_by_the_probes(module):
    code = f"{PREAMBLE}print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "x"], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
