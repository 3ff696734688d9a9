"""The applications: how each is set up, what it is served with, and the pages that it has.

A folder below apps/ holds what a deployment of one would: pins, settings, the file that starts it,
and ``fill.py``, which makes its tables and what stands in them. ``pages`` is the truth that a run
is judged by: what visitors, or clients of an API, ask for without a password, written down from
the application's own documentation and menus, not from what is found. ``*`` is one part of a path,
``**`` any rest; what is in none of them (logins, other people's pages, static files) is astray in
a load.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Application:
    name: str
    target: str
    framework: str
    server: str  # what its files start, by the tool's name
    pages: tuple[str, ...]
    others: tuple[str, ...] = ()  # right, but nobody misses them: other forms of a page, health
    postgres: bool = False
    # {home} is the application's folder, {database} the URL of its Postgres
    environ: tuple[tuple[str, str], ...] = ()


def matcher(pattern: str) -> re.Pattern[str]:
    """The expression of one row of ``pages``, for a path without its query."""
    text = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]+")
    return re.compile(text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


APPLICATIONS = (
    Application(
        "httpbin", "httpbin:app", "Flask", "gunicorn",
        _words("""/ /forms/post /get /headers /ip /user-agent /uuid /html /json /xml /gzip /deflate
               /encoding/utf8 /cache /cache/* /cookies /base64/* /bytes/* /range/* /links/*/*
               /stream/* /stream-bytes/* /response-headers /image /anything"""),
        _words("/anything/** /delay/* /drip /etag/* /deny /robots.txt /brotli /status/* /image/*"),
    ),
    Application(
        "wagtail", "mysite.wsgi", "Django, Wagtail", "gunicorn",
        _words("/ /about/ /contact/ /team/ /terms/ /blog/ /blog/*/ /events/ /events/*/ /search/"),
        postgres=True,
    ),
    Application(
        "drf", "library.wsgi", "Django REST framework", "uwsgi",
        _words("""/api/v1/ /api/v1/authors/ /api/v1/authors/*/ /api/v1/authors/*/books/
               /api/v1/books/ /api/v1/books/*/ /api/v1/totals/"""),
        postgres=True,
    ),
    Application(
        "kinto", "service:application", "Pyramid", "waitress",
        _words("""/v1/ /v1/buckets/* /v1/buckets/*/collections /v1/buckets/*/collections/*
               /v1/buckets/*/collections/*/records /v1/buckets/*/collections/*/records/*
               /v1/buckets/*/groups /v1/buckets/*/groups/*"""),
        _words("""/v1/buckets /v1/__heartbeat__ /v1/__lbheartbeat__ /v1/__version__ /v1/__api__
               /v1/contribute.json /v1/permissions"""),
        postgres=True,
    ),
    Application(
        "dash", "app:server", "Flask, Dash", "gunicorn",
        _words("/ /sales /stock /_dash-layout /_dash-dependencies"),
    ),
    Application(
        "litestar", "notes:app", "Litestar, asyncpg", "uvicorn",
        _words("/ /notes /notes/* /tags/* /report"),
        _words("/health"),
        postgres=True,
    ),
    Application(
        "mlflow", "mlflow.server.fastapi_app:app", "FastAPI around Flask", "uvicorn",
        _words("""/ /version /ajax-api/2.0/mlflow/experiments/search
               /api/2.0/mlflow/experiments/search /api/2.0/mlflow/experiments/get
               /api/2.0/mlflow/runs/get /api/2.0/mlflow/registered-models/search"""),
        _words("/api/** /ajax-api/** /health /server-info /graphql /v1/**"),
        postgres=True,
        environ=(
            ("_MLFLOW_SERVER_FILE_STORE", "{database}"),
            ("_MLFLOW_SERVER_ARTIFACT_ROOT", "{home}/artifacts"),
        ),
    ),
    Application(
        "datasette", "service:app", "ASGI of its own", "uvicorn",
        _words("/ /shop /shop/maker /shop/product /shop/dear /shop/maker/* /shop/product/*"),
        _words("/-/** /shop.json /shop/*.json /shop/*/*.json /*.json /shop.db /shop/*.csv"),
    ),
    Application(
        "radicale", "radicale:application", "WSGI of its own", "gunicorn",
        _words("/.web/ /ann/ /ann/work/ /ann/work/*"),
        environ=(("RADICALE_CONFIG", "{home}/config"),),
    ),
    Application(
        "pypiserver", "service:app", "Bottle", "gunicorn",
        _words("/ /simple/ /simple/*/ /packages/ /packages/* /*/json"),
        _words("/health"),
    ),
    Application(
        "oscar", "frobshop.wsgi", "Django with languages", "gunicorn",
        _words("""/en-gb/catalogue/ /en-gb/catalogue/*/ /en-gb/catalogue/category/*/
               /en-gb/catalogue/*/reviews/ /en-gb/offers/ /en-gb/basket/ /en-gb/search/"""),
        _words("""/en-gb/ /de/** /en-gb/catalogue/*/reviews/add/ /en-gb/catalogue/category/**
               /en-gb/catalogue/*/reviews/**"""),
        postgres=True,
    ),
    Application(
        "otterwiki", "otterwiki.server:app", "Flask", "gunicorn",
        _words("""/ /Guide/* /Notes/* /*/*/history /*/*/source /-/about /-/index /-/changelog
               /-/search"""),
        _words("/** /*/*/*"),
        environ=(("OTTERWIKI_SETTINGS", "{home}/settings.cfg"),),
    ),
    Application(
        "ihatemoney", "ihatemoney.wsgi", "Flask, projects with passwords", "gunicorn",
        _words("""/ /create /demo/ /demo/add /demo/edit/* /demo/statistics /demo/settle_bills
               /demo/history"""),
        _words("/mobile /demo/** /api/currencies"),
        postgres=True,
        environ=(("IHATEMONEY_SETTINGS_FILE_PATH", "{home}/ihatemoney.cfg"),),
    ),
    Application(
        "optuna_dashboard", "service:application", "Bottle, one page and an API", "gunicorn",
        _words("/dashboard /dashboard/studies/* /api/meta /api/studies /api/studies/*"),
        _words("/dashboard/** /api/** /csv/* /"),
        postgres=True,
    ),
    Application(
        "pygeoapi", "pygeoapi.flask_app:APP", "Flask, OpenAPI", "gunicorn",
        _words("""/ /conformance /collections /collections/* /collections/*/items
               /collections/*/items/* /collections/*/queryables /openapi /processes"""),
        _words("/collections/** /jobs /TileMatrixSets /TileMatrixSets/* /stac /processes/**"),
        environ=(
            ("PYGEOAPI_CONFIG", "{home}/config.yml"),
            ("PYGEOAPI_OPENAPI", "{home}/openapi.yml"),
        ),
    ),
    Application(
        "sqladmin", "shop:app", "FastAPI", "granian",
        _words("/shelves /shelves/*/items /items/*"),
    ),
)  # fmt: skip
BY_NAME = {each.name: each for each in APPLICATIONS}
