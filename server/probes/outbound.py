"""Probes on HTTP clients and redis-py: seconds a request waited for other services, by host.

``http.client`` carries urllib, urllib3, requests and boto3; httpx and aiohttp bring their own
transport. Each exchange is a call; a pipeline of Redis is as many calls as answers are read. A
response that is streamed after httpx handed it over, and sockets the app speaks to itself, are not
seen: they are other waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from pretune.server.probes.imports import when_imported
from pretune.server.probes.waiting import OUT, Function, Whom, patch, timed, timed_async

Wrap = Callable[[Function], Function]
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def install() -> None:
    """Once per process, before or after the app's import; clients the app lacks are not touched."""
    when_imported("http.client", _http_client)
    when_imported("urllib3.connection", _urllib3)
    when_imported("httpx._client", _httpx)
    when_imported("aiohttp.client", _aiohttp)
    when_imported("aiohttp.client_reqrep", _aiohttp_response)
    when_imported("redis.connection", _redis)
    when_imported("redis.asyncio.connection", _redis_async)


# Whom a call goes to, by its arguments; the first is the object whose method it is.


def _connection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    connection = args[0]
    host, port = getattr(connection, "host", None), getattr(connection, "port", None)
    return f"{host}:{port}" if host else str(getattr(connection, "path", ""))


def _httpx_host(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    url = (args[1] if len(args) > 1 else kwargs["request"]).url
    return f"{url.host}:{url.port or _PORTS.get(url.scheme, 0)}"


def _aiohttp_host(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    asked = str(args[2] if len(args) > 2 else kwargs["str_or_url"])
    base = getattr(args[0], "_base_url", None)
    url = urlsplit(asked if "://" in asked or base is None else str(base))
    return f"{url.hostname}:{url.port or _PORTS.get(url.scheme, 0)}"


def _part_of(args: tuple[Any, ...]) -> bool:
    """Return whether the call is part of an exchange that is counted elsewhere."""
    return False


def _call(whom: Whom) -> Wrap:
    return lambda function: timed(function, OUT, None, whom)


def _part(whom: Whom | None = None) -> Wrap:
    return lambda function: timed(function, OUT, _part_of, whom)


def _call_async(whom: Whom) -> Wrap:
    return lambda function: timed_async(function, OUT, None, whom)


def _part_async() -> Wrap:
    return lambda function: timed_async(function, OUT, _part_of)


def _http_client(module: ModuleType) -> None:
    # One exchange ends in one getresponse, whoever wrote the request.
    patch(module.HTTPConnection, ("getresponse",), _call(_connection))
    patch(module.HTTPConnection, ("connect", "send"), _part(_connection))
    patch(module.HTTPSConnection, ("connect",), _part(_connection))
    patch(module.HTTPResponse, ("read", "read1", "readinto", "readline"), _part())


def _urllib3(module: ModuleType) -> None:
    for name in ("HTTPConnection", "HTTPSConnection"):
        patch(getattr(module, name), ("connect",), _part(_connection))


def _httpx(module: ModuleType) -> None:
    patch(module.Client, ("send",), _call(_httpx_host))
    patch(module.AsyncClient, ("send",), _call_async(_httpx_host))


def _aiohttp(module: ModuleType) -> None:
    patch(module.ClientSession, ("_request",), _call_async(_aiohttp_host))


def _aiohttp_response(module: ModuleType) -> None:
    patch(module.ClientResponse, ("read",), _part_async())


def _redis(module: ModuleType) -> None:
    for name in ("AbstractConnection", "Connection"):
        if hasattr(module, name):
            patch(getattr(module, name), ("read_response",), _call(_connection))
            patch(getattr(module, name), ("connect",), _part(_connection))


def _redis_async(module: ModuleType) -> None:
    for name in ("AbstractConnection", "Connection"):
        if hasattr(module, name):
            patch(getattr(module, name), ("read_response",), _call_async(_connection))
