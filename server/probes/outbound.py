"""Probes on HTTP clients: seconds a request waited for other services, and how many it asked.

``http.client`` carries urllib, urllib3 and requests; httpx and aiohttp bring their own transport.
A response that is streamed after httpx handed it over, and sockets the app speaks to itself, are
not seen.
"""

from __future__ import annotations

from types import ModuleType

from pretune.server.probes.imports import when_imported
from pretune.server.probes.waiting import OUT, Function, patch, timed, timed_async


def install() -> None:
    """Once per process, before or after the app's import; clients the app lacks are not touched."""
    when_imported("http.client", _http_client)
    when_imported("urllib3.connection", _urllib3)
    when_imported("httpx._client", _httpx)
    when_imported("aiohttp.client", _aiohttp)
    when_imported("aiohttp.client_reqrep", _aiohttp_response)


def _call(function: Function) -> Function:
    return timed(function, OUT)


def _part(function: Function) -> Function:
    """Of an exchange that is counted elsewhere."""
    return timed(function, OUT, lambda args: False)


def _call_async(function: Function) -> Function:
    return timed_async(function, OUT)


def _part_async(function: Function) -> Function:
    return timed_async(function, OUT, lambda args: False)


def _http_client(module: ModuleType) -> None:
    # One exchange ends in one getresponse, whoever wrote the request.
    patch(module.HTTPConnection, ("getresponse",), _call)
    patch(module.HTTPConnection, ("connect", "send"), _part)
    patch(module.HTTPSConnection, ("connect",), _part)
    patch(module.HTTPResponse, ("read", "read1", "readinto", "readline"), _part)


def _urllib3(module: ModuleType) -> None:
    for name in ("HTTPConnection", "HTTPSConnection"):
        patch(getattr(module, name), ("connect",), _part)


def _httpx(module: ModuleType) -> None:
    patch(module.Client, ("send",), _call)
    patch(module.AsyncClient, ("send",), _call_async)


def _aiohttp(module: ModuleType) -> None:
    patch(module.ClientSession, ("_request",), _call_async)


def _aiohttp_response(module: ModuleType) -> None:
    patch(module.ClientResponse, ("read",), _part_async)
