"""Whose line a stack stands at, on stacks made by hand."""

import sys
import types

import pytest

from pretune.server.probes import user_frames
from pretune.server.probes.user_frames import UserFrame, UserFrames, awaits, frames

ROOT = "/srv/shop"
SITE = "/srv/shop/.venv/lib/python3.11/site-packages"
STDLIB = UserFrames(["/"])._stdlib[0]
PROBE = f"{user_frames._PROBES}waiting.py"
SERVER = f"{user_frames._SERVER}service.py"


def line(filename, function, number=1):
    empty = (lambda: None).__code__
    code = empty.replace(co_filename=filename, co_name=function, co_qualname=function)
    return code, number


VIEW = line(f"{ROOT}/shop/views.py", "product", 41)
SERVED = line(SERVER, "respond")
ORM = [line(f"{SITE}/django/db/models/query.py", name) for name in ("_fetch_all", "__iter__")]

CASES = {
    "the user's own line, nothing below": (
        [VIEW, SERVED],
        UserFrame("shop/views.py", 41, "product", True),
    ),
    "the outermost function of the innermost package": (
        [
            line(f"{SITE}/psycopg/connection.py", "Connection.wait"),
            line(PROBE, "wait"),
            line(f"{SITE}/psycopg/cursor.py", "Cursor.execute"),
            *ORM,
            VIEW,
            SERVED,
        ],
        UserFrame("shop/views.py", 41, "Cursor.execute", True),
    ),
    "a function written in C is named by its probe": (
        [line(PROBE, "execute"), *ORM, VIEW, SERVED],
        UserFrame("shop/views.py", 41, "execute", True),
    ),
    "the standard library is one package": (
        [
            line(f"{STDLIB}socket.py", "SocketIO.readinto"),
            line(f"{STDLIB}http/client.py", "HTTPConnection.getresponse"),
            line(f"{SITE}/requests/api.py", "get"),
            VIEW,
            SERVED,
        ],
        UserFrame("shop/views.py", 41, "HTTPConnection.getresponse", True),
    ),
    "a view that a library brings": (
        [*ORM, line(f"{SITE}/rest/views.py", "list", 7), SERVED, line("<string>", "<module>")],
        UserFrame("django/db/models/query.py", 1, "__iter__", False),
    ),
    "the server alone": ([SERVED, line(f"{STDLIB}threading.py", "Thread.run")], None),
    "what the app calls of the server is the app's": (
        [line(SERVER, "write"), VIEW, SERVED],
        UserFrame("shop/views.py", 41, "product", True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_place_of_a_stack(case):
    stack, expected = CASES[case]
    assert UserFrames([ROOT]).find(stack) == expected


def test_an_environment_in_the_project_is_not_the_users(monkeypatch):
    monkeypatch.setattr(sys, "prefix", f"{ROOT}/venv")
    whose, _ = UserFrames([ROOT]).owner(f"{ROOT}/venv/bin/tool.py")
    assert whose != user_frames.OWN


def test_the_frames_of_a_thread_and_of_a_suspended_coroutine():
    here = list(frames(sys._getframe()))
    assert here[0][0].co_name == "test_the_frames_of_a_thread_and_of_a_suspended_coroutine"

    @types.coroutine
    def pause():
        yield

    async def inner():
        await pause()

    async def outer():
        await inner()

    coroutine = outer()
    coroutine.send(None)
    assert [code.co_name for code, _ in awaits(coroutine)] == ["pause", "inner", "outer"]
    coroutine.close()
