"""Services of another machine, which no load may reach unasked: however the application names them.

The other machine is a network namespace in which somebody accepts connections and says nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bench.faults.applications import HELPER, LOOK, SERVED, USAGE
from bench.faults.fault import Fault, Prepare, Unavailable
from bench.faults.sandbox import Sandbox

HERE, THERE = "198.18.78.1", "198.18.78.2"  # RFC 2544: for tests of networks
LISTENER = """
import select, socket
servers = [socket.create_server(("", port)) for port in (5432, 587)]
print("ready", flush=True)
kept = []
while True:
    for server in select.select(servers, [], [])[0]:
        kept.append(server.accept())
"""
REFUSED = "--allow-remote-db"


def ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"no network namespace can be made: {error.stderr.strip()}") from error


def reach_another_machine(sandbox: Sandbox) -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise Unavailable("another machine is a network namespace: root and iproute2 make one")
    space, near, far = (f"{name}{os.getpid()}" for name in ("fault-", "fa", "fb"))
    ip("netns", "add", space)
    sandbox.stack.callback(ip, "netns", "delete", space)  # takes the veth pair along
    ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
    ip("addr", "add", f"{HERE}/30", "dev", near)
    ip("link", "set", near, "up")
    ip("-n", space, "addr", "add", f"{THERE}/30", "dev", far)
    ip("-n", space, "link", "set", far, "up")
    command = ["ip", "netns", "exec", space, sys.executable, "-c", LISTENER]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE)
    sandbox.stack.callback(listener.communicate)
    sandbox.stack.callback(listener.kill)
    assert listener.stdout is not None
    listener.stdout.readline()


def name_service(sandbox: Sandbox) -> None:
    reach_another_machine(sandbox)
    (sandbox.directory / "services.conf").write_text(f"[prod]\nhost={THERE}\ndbname=shop\n")
    sandbox.environ |= {
        "PGSERVICE": "prod",
        "PGSERVICEFILE": str(sandbox.directory / "services.conf"),
    }


CONNECT = (
    "import psycopg\ndef app(environ, start):\n    with psycopg.connect({given}):\n        pass\n"
    "    return ok(start)\n"
)
SOCKET = (
    "import socket, time\ndef app(environ, start):\n"
    "    with socket.create_connection(('" + THERE + "', {port}), timeout=5):\n"
    "        time.sleep(0.2)\n    return ok(start)\n"
)
DJANGO = """
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {OPTIONS}}},
)
django.setup()
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse
from django.urls import path
def home(request):
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return HttpResponse("ok")
urlpatterns = [path("", home)]
app = get_wsgi_application()
"""
ALCHEMY = (
    "import psycopg, sqlalchemy\nengine = sqlalchemy.create_engine('postgresql+psycopg://',\n"
    f"    creator=lambda: psycopg.connect('host={THERE} dbname=shop', connect_timeout=5))\n"
    "def app(environ, start):\n    with engine.connect():\n        return ok(start)\n"
)


def refused(name: str, app: str, prepare: Prepare = reach_another_machine) -> Fault:
    return Fault(name, REFUSED, USAGE, app, flags=LOOK, prepare=prepare, quick=True)


def set_variable(name: str, value: str) -> Prepare:
    def prepare(sandbox: Sandbox) -> None:
        reach_another_machine(sandbox)
        sandbox.environ[name] = value

    return prepare


FAULTS = (
    refused("a remote Postgres by keywords", HELPER,
            set_variable("DATABASE_URL", f"host={THERE} dbname=shop")),
    refused("a remote Postgres by PGHOST", HELPER + CONNECT.format(given="'dbname=shop'"),
            set_variable("PGHOST", THERE)),
    refused("a remote Postgres by PGSERVICE and a service file",
            HELPER + CONNECT.format(given="''"), name_service),
    refused("a remote Postgres that the app sets itself",
            f"import os\nos.environ['PGHOST'] = '{THERE}'\n" + HELPER
            + CONNECT.format(given="connect_timeout=5")),
    refused("a remote Postgres that only the app's code names",
            HELPER + CONNECT.format(given=f"'host={THERE} connect_timeout=5'")),
    refused("a remote Postgres in Django's OPTIONS",
            DJANGO.replace("{OPTIONS}", repr({"host": THERE, "dbname": "shop"}))),
    refused("a remote Postgres in a service of Django's OPTIONS",
            DJANGO.replace("{OPTIONS}", repr({"service": "prod"})), name_service),
    refused("a remote Postgres by SQLAlchemy's creator", HELPER + ALCHEMY),
    refused("a remote Postgres by a plain socket", HELPER + SOCKET.format(port=5432)),
    Fault("a remote mail server", f"reached {THERE}:587", SERVED, HELPER + SOCKET.format(port=587),
          flags=LOOK, prepare=reach_another_machine, quick=True),
)  # fmt: skip
