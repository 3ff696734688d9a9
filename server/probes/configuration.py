"""The configuration of an imported application: its host, its databases, its files, what is
switched on.

Only read from objects that are there already; nothing is connected to, nothing is imported.
URLs of databases carry their passwords, because the tool must connect: they go through a pipe to
the tool and must never be printed.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlencode

# distribution -> module; reported when the application has imported it
_LIBRARIES = {
    "django": "django", "djangorestframework": "rest_framework", "flask": "flask",
    "fastapi": "fastapi", "starlette": "starlette", "sqlalchemy": "sqlalchemy",
    "psycopg": "psycopg", "psycopg-pool": "psycopg_pool", "psycopg2": "psycopg2",
    "asyncpg": "asyncpg", "redis": "redis", "requests": "requests", "httpx": "httpx",
    "gevent": "gevent", "numpy": "numpy", "uvloop": "uvloop", "anyio": "anyio",
}  # fmt: skip
# libpq's name -> the key of Django's DATABASES that goes before it in OPTIONS
_DJANGO = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
HTTPS = {"X-Forwarded-Proto": "https"}


def versions() -> dict[str, str]:
    """Versions of libraries the application has loaded, "" where a library does not say."""
    return {
        name: str(getattr(sys.modules[module], "__version__", ""))
        for name, module in _LIBRARIES.items()
        if module in sys.modules
    }


def concrete_host(allowed: Any, debug: bool = False) -> str | None:
    """A host name that a list of allowed hosts lets through; None when there is no telling."""
    names = [str(name) for name in allowed or ()]
    for name in names:
        if name.startswith("*."):
            name = name[2:]
        if name and "*" not in name and name != ".":
            return name.removeprefix(".")
    return "localhost" if "*" in names or (debug and not names) else None


def describe(app: Any, framework: str) -> dict[str, Any]:
    """Describe an unwrapped application: ``host``, ``headers``, ``settings``, ``databases``,
    ``statics``.

    ``statics``: files that something else than the app could serve, ``{"url", "directory"}`` each.
    """
    if framework == "django":
        described = _django()
    elif framework in ("flask", "quart"):
        described = _flask(app)
    elif framework in ("fastapi", "starlette"):
        described = _starlette(app)
    else:
        described = {"host": None, "headers": {}, "settings": {}, "databases": []}
    described.setdefault("statics", [])
    urls = {database["url"] for database in described["databases"]}
    described["databases"] += [item for item in _engines() + _pools() if item["url"] not in urls]
    return described


def _django() -> dict[str, Any]:
    settings = import_module("django.conf").settings
    headers: dict[str, str] = {}
    proxy = settings.SECURE_PROXY_SSL_HEADER
    secure = settings.SESSION_COOKIE_SECURE or settings.CSRF_COOKIE_SECURE
    if settings.SECURE_SSL_REDIRECT or (proxy and secure):
        headers = dict(HTTPS)
        if proxy:
            name, value = proxy
            headers = {name.removeprefix("HTTP_").replace("_", "-").title(): value.split(",")[0]}
    return {
        "host": concrete_host(settings.ALLOWED_HOSTS, settings.DEBUG),
        "headers": headers,
        "settings": {
            "debug": bool(settings.DEBUG),
            "middleware": [str(name) for name in settings.MIDDLEWARE],
            "session_engine": str(settings.SESSION_ENGINE),
            "caches": {name: str(c.get("BACKEND", "")) for name, c in settings.CACHES.items()},
        },
        "databases": [
            _django_database(alias, dict(values)) for alias, values in settings.DATABASES.items()
        ],
        "statics": _statics([(settings.STATIC_URL, settings.STATIC_ROOT)]),
    }


def _django_database(alias: str, values: dict[str, Any]) -> dict[str, Any]:
    backend = str(values.get("ENGINE", ""))
    name = backend.rpartition(".")[2]
    options = values.get("OPTIONS") or {}
    engine, url = name, None
    if name in ("postgresql", "postgis", "postgresql_psycopg2"):
        engine, url = "postgresql", _postgres_url(values, options)
    elif name in ("sqlite3", "spatialite"):
        engine, url = "sqlite", f"sqlite:///{values.get('NAME', '')}"
    return {
        "alias": alias,
        "engine": engine,
        "url": url,
        "source": "DATABASES",
        "conn_max_age": values.get("CONN_MAX_AGE"),
        "pool": bool(options.get("pool")),
        **_django_pool(options.get("pool")),
        "atomic_requests": bool(values.get("ATOMIC_REQUESTS")),
    }


def _django_pool(pool: Any) -> dict[str, Any]:
    """The sizes of Django's pool: what it hands to psycopg_pool, whose own are 4 and as many."""
    if not pool:
        return {}
    given = pool if isinstance(pool, dict) else {}
    least = given.get("min_size", 4)
    return {"pool_size": least, "max_size": given.get("max_size") or least}


def _postgres_url(values: dict[str, Any], options: dict[str, Any]) -> str:
    user, password = str(values.get("USER") or ""), str(values.get("PASSWORD") or "")
    host, port = str(values.get("HOST") or ""), str(values.get("PORT") or "")
    login = quote(user, safe="") + (":" + quote(password, safe="") if password else "")
    settled = {key for key, name in _DJANGO.items() if values.get(name)}
    query: dict[str, Any] = {
        key: value
        for key, value in options.items()
        if key not in settled and type(value) in (str, int)
    }
    if host.startswith("/"):  # the directory of a socket
        query["host"], host = host, ""
    if ":" in host:
        host = f"[{host}]"
    place = (login + "@" if login else "") + host + (":" + port if port else "")
    name = quote(str(values.get("NAME") or ""), safe="")
    return f"postgresql://{place}/{name}" + ("?" + urlencode(query) if query else "")


def _flask(app: Any) -> dict[str, Any]:
    config = app.config
    headers = {}
    if config.get("PREFERRED_URL_SCHEME") == "https" or "flask_talisman" in sys.modules:
        headers = dict(HTTPS)
    url = config.get("SQLALCHEMY_DATABASE_URI")
    databases = []
    if url:
        options = config.get("SQLALCHEMY_ENGINE_OPTIONS") or {}
        sizes = {"pool_size": options.get("pool_size", 5)}
        sizes["max_overflow"] = options.get("max_overflow", 10)
        known = "poolclass" not in options
        text, source = _text(url), "SQLALCHEMY_DATABASE_URI"
        databases = [_sqlalchemy_url(text, source, **(sizes if known else {}))]
    return {
        "host": config.get("SERVER_NAME") or None,
        "headers": headers,
        "settings": {"debug": bool(app.debug), "testing": bool(app.testing)},
        "databases": databases,
        "statics": _statics([(app.static_url_path, app.static_folder)]),
    }


def _statics(pairs: list[tuple[Any, Any]]) -> list[dict[str, str]]:
    """Keep the pairs of url and directory that are on this server: an url may name another host, or
    nothing.
    """
    statics = []
    for url, directory in pairs:
        path = "/" + str(url or "").strip("/") + "/"
        elsewhere = str(url or "").startswith("//") or "://" in str(url or "")
        if url and directory and not elsewhere and path != "//":
            statics.append({"url": path, "directory": os.path.abspath(str(directory))})
    return statics


def _starlette(app: Any) -> dict[str, Any]:
    host, headers, names = None, {}, []
    for item in getattr(app, "user_middleware", ()):
        name = getattr(item.cls, "__name__", str(item.cls))
        names.append(name)
        options = getattr(item, "kwargs", None) or getattr(item, "options", None) or {}
        if name == "TrustedHostMiddleware":
            host = concrete_host(options.get("allowed_hosts"))
        elif name == "HTTPSRedirectMiddleware":
            headers = dict(HTTPS)
    return {
        "host": host,
        "headers": headers,
        "settings": {"debug": bool(getattr(app, "debug", False)), "middleware": names},
        "databases": [],
        "statics": _statics(
            [
                (getattr(route, "path", ""), getattr(route.app, "directory", None))
                for route in getattr(app, "routes", ())
                if type(getattr(route, "app", None)).__name__ == "StaticFiles"
            ]
        ),
    }


def _text(url: Any) -> str:
    if hasattr(url, "render_as_string"):
        return str(url.render_as_string(hide_password=False))
    return str(url)


def _sqlalchemy_url(url: str, source: str, **more: Any) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    engine, _, driver = scheme.partition("+")
    engine = {"postgres": "postgresql"}.get(engine, engine)
    return {
        "alias": source,
        "engine": engine,
        "driver": driver or None,
        "url": f"{engine}://{rest}",
        "source": source,
        **more,
    }


def _living(module: str, *names: str) -> list[Any]:
    """Objects of a loaded module's classes that the application has made."""
    if module not in sys.modules:
        return []
    import gc

    return [
        item
        for item in gc.get_objects()
        if type(item).__name__ in names and type(item).__module__.startswith(module)
    ]


def _engines() -> list[dict[str, Any]]:
    engines = []
    for engine in _living("sqlalchemy", "Engine"):
        pool = getattr(engine, "pool", None)
        size = getattr(pool, "size", None)
        described = _sqlalchemy_url(
            _text(engine.url),
            "sqlalchemy engine",
            pool_class=type(pool).__name__,
            pool_size=size() if callable(size) else None,
            max_overflow=getattr(pool, "_max_overflow", None),
        )
        if _connects_by_itself(pool) and not (engine.url.host or engine.url.database):
            described["url"] = None  # only its own code knows where it leads
        engines.append(described)
    return engines


def _connects_by_itself(pool: Any) -> bool:
    """Return whether the application gave its engine a ``creator``."""
    creator = getattr(pool, "_creator", None)
    return not str(getattr(creator, "__module__", "")).startswith("sqlalchemy.")


def _pools() -> list[dict[str, Any]]:
    names = ("ConnectionPool", "AsyncConnectionPool", "NullConnectionPool")
    return [
        {
            "alias": "psycopg_pool",
            "engine": "postgresql",
            "driver": "psycopg",
            "url": pool.conninfo,
            "source": "psycopg_pool",
            "pool_class": type(pool).__name__,
            "pool_size": pool.min_size,
            "max_size": pool.max_size,
        }
        for pool in _living("psycopg_pool", *names)
        if isinstance(getattr(pool, "conninfo", None), str)
    ]
