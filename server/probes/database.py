"""Probes on Postgres drivers: seconds a request waited for the database, and how often it asked.

libpq waits in C and sockets show nothing from outside, so the drivers themselves are timed, each
where all its traffic passes: psycopg 3 at ``Connection.wait``, asyncpg at its public coroutines,
psycopg2, whose types are written in C and cannot be patched, by handing out subclasses.

A wait for a free connection of a pool is queueing inside the app, not database time; it is in
neither figure.
"""

from __future__ import annotations

import functools
import os
from types import ModuleType
from typing import Any

from pretune.server.probes.imports import when_imported
from pretune.server.probes.waiting import DB, Function, patch, timed, timed_async


def install() -> None:
    """Once per process, before or after the app's import; drivers the app lacks are not touched."""
    when_imported("psycopg.connection", _psycopg)
    when_imported("psycopg.connection_async", _psycopg_async)
    when_imported("psycopg", _psycopg_package)
    when_imported("psycopg2", _psycopg2)
    when_imported("asyncpg.connection", _asyncpg_connection)
    when_imported("asyncpg.prepared_stmt", _asyncpg_prepared)
    when_imported("asyncpg.cursor", _asyncpg_cursor)
    when_imported("asyncpg", _asyncpg)


# psycopg 3. A generator of its protocol runs through wait() for each operation: a query with the
# BEGIN before it is one. Pieces of one operation are not calls of their own.
_PIECES = frozenset({"_stream_fetchone_gen", "copy_from", "copy_to"})
# These ask nothing when no transaction is open.
_ENDINGS = frozenset({"_commit_gen", "_rollback_gen"})
_IDLE = 0  # PQTRANS_IDLE


def _is_operation(args: tuple[Any, ...]) -> bool:
    """Return whether the arguments of ``wait(connection, generator, ...)`` are a database
    operation.
    """
    connection, generator = args[0], args[1] if len(args) > 1 else None
    name = getattr(generator, "__name__", "")
    if name in _ENDINGS:
        pgconn = getattr(connection, "pgconn", None)
        return getattr(pgconn, "transaction_status", None) != _IDLE
    return name not in _PIECES


def _psycopg(module: ModuleType) -> None:
    patch(module.Connection, ("wait",), lambda f: timed(f, DB, _is_operation))
    _patch_connect(module.Connection, timed)


def _psycopg_async(module: ModuleType) -> None:
    patch(module.AsyncConnection, ("wait",), lambda f: timed_async(f, DB, _is_operation))
    _patch_connect(module.AsyncConnection, timed_async)


def _patch_connect(connection: Any, wrapper: Any) -> None:
    """``connect`` is a class method."""
    method = vars(connection).get("connect")
    if isinstance(method, classmethod) and not hasattr(method.__func__, "_pretune_probe"):
        wrapped = wrapper(method.__func__, DB)
        wrapped._pretune_probe = True
        connection.connect = classmethod(wrapped)


def _psycopg_package(module: ModuleType) -> None:
    """The package keeps the bound method: not yet patched if it was imported before us."""
    connection: Any = module.Connection
    patched = connection.connect
    if getattr(module.connect, "__self__", None) is connection:
        vars(module)["connect"] = patched


# psycopg2


def _psycopg2(module: ModuleType) -> None:
    connect = module.connect
    if hasattr(connect, "_pretune_probe"):
        return
    timed_connect = timed(connect, DB)
    base = module.extensions.connection

    @functools.wraps(connect)
    def probed_connect(
        dsn: Any = None, connection_factory: Any = None, cursor_factory: Any = None, **options: Any
    ) -> Any:
        factory = connection_factory or base
        if isinstance(factory, type) and issubclass(factory, base):
            factory = _probed_connection(factory, module.extensions.cursor)
        return timed_connect(dsn, factory, cursor_factory, **options)

    probed_connect._pretune_probe = True  # type: ignore[attr-defined]
    module.connect = probed_connect  # type: ignore[attr-defined]


_CONNECTION_CALLS = ("commit", "rollback", "cancel", "reset", "lobject")
_CURSOR_CALLS = (
    "execute",
    "executemany",
    "callproc",
    "copy_from",
    "copy_to",
    "copy_expert",
)
# Only a named cursor asks the server for rows; an ordinary one has them all.
_CURSOR_FETCHES = ("fetchone", "fetchmany", "fetchall", "scroll")


def _subclass(base: type, names: tuple[str, ...], **more: Any) -> type:
    methods = {name: timed(getattr(base, name), DB) for name in names if hasattr(base, name)}
    place = {"__module__": base.__module__, "__qualname__": base.__qualname__}
    return type(base.__name__, (base,), {**methods, **more, **place, "_pretune_probe": True})


@functools.cache
def _probed_cursor(base: Any, named: bool) -> Any:
    if hasattr(base, "_pretune_probe"):
        return base
    more = {"__next__": timed(base.__next__, DB, lambda args: False)} if named else {}
    return _subclass(base, _CURSOR_CALLS + (_CURSOR_FETCHES if named else ()), **more)


@functools.cache
def _probed_connection(base: Any, plain_cursor: Any) -> Any:
    if hasattr(base, "_pretune_probe"):
        return base
    make: Function = base.cursor

    def cursor(
        self: Any, name: Any = None, cursor_factory: Any = None, *args: Any, **options: Any
    ) -> Any:
        factory = cursor_factory or self.cursor_factory
        if factory is None:
            # A subclass (DictConnection) has a default of its own; a cursor tells which. Until
            # it executes something it is only an object here.
            first = make(self)
            factory = type(first)
            first.close()
        if isinstance(factory, type) and issubclass(factory, plain_cursor):
            factory = _probed_cursor(factory, name is not None)
        options |= zip(("scrollable", "withhold"), args, strict=False)
        return make(self, name, cursor_factory=factory, **options)

    return _subclass(base, _CONNECTION_CALLS, cursor=functools.wraps(make)(cursor))


# asyncpg


_ASYNCPG = {
    "Connection": (
        "execute",
        "executemany",
        "fetch",
        "fetchval",
        "fetchrow",
        "fetchmany",
        "prepare",
        "copy_from_query",
        "copy_from_table",
        "copy_to_table",
        "copy_records_to_table",
        "reset",
        "reload_schema_state",
    ),
    "PreparedStatement": ("fetch", "fetchval", "fetchrow", "fetchmany", "executemany"),
    "Cursor": ("fetch", "fetchrow", "forward"),
    "CursorIterator": ("__anext__",),
}


def _async_db(function: Function) -> Function:
    return timed_async(function, DB)


def _asyncpg_connection(module: ModuleType) -> None:
    patch(module.Connection, _ASYNCPG["Connection"], _async_db)
    patch(module, ("connect",), _connect_named)


def _asyncpg_prepared(module: ModuleType) -> None:
    patch(module.PreparedStatement, _ASYNCPG["PreparedStatement"], _async_db)


def _asyncpg_cursor(module: ModuleType) -> None:
    for name in ("Cursor", "CursorIterator"):
        patch(getattr(module, name), _ASYNCPG[name], _async_db)


def _asyncpg(module: ModuleType) -> None:
    """The package took connect from its submodule, patched or not."""
    connect = getattr(getattr(module, "connection", None), "connect", None)
    if connect is not None:
        module.connect = connect  # type: ignore[attr-defined]


def _connect_named(connect: Function) -> Function:
    """asyncpg does not read PGAPPNAME, in which a worker's identity is carried."""
    timed_connect = _async_db(connect)

    @functools.wraps(connect)
    async def connect_named(*args: Any, **options: Any) -> Any:
        name = os.environ.get("PGAPPNAME")
        if name:
            settings = dict(options.get("server_settings") or {})
            settings.setdefault("application_name", name)
            options["server_settings"] = settings
        return await timed_connect(*args, **options)

    return connect_named
