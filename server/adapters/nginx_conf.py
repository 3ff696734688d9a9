"""nginx in front of the server: what it is told, as values, and the text of its file.

Pure. The nginx of a trial and the file to deploy are made by the same function, so what is deployed
is what was measured. The directives are those of nginx's own documentation; why each stands there
is its comment.

The timeouts are in one order: a connection that idles is closed by nginx before the server would do
it, so no request is sent into a connection that is just being closed; and a request that takes too
long is ended by the server before nginx gives it up, so the log of the server knows of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pretune.server.adapters import catalogue
from pretune.server.settings import Settings

NAME = "nginx"
INSTALL = "apt install nginx-light"

MIME_TYPES = "/etc/nginx/mime.types"
# Of the server's own time for idle connections, so long does nginx keep one.
IDLE_PART = 0.5
MOST_IDLE = 64  # of one nginx process; more requests at once open connections of their own
READ_MARGIN_S = 5.0  # that nginx waits longer than the server's own timeout
NO_TIMEOUT_S = 60.0  # nginx's default, where the server has none
CONNECT_S = 5.0
CLIENT_IDLE_S = 75.0  # nginx's default, above the 60 s of usual load balancers
LARGEST_BODY = 16 << 20
# Descriptors that a process may have without asking: the usual soft limit.
USUAL_FDS = 1024
_ADDRESS = re.compile(r"[\w.:/\[\]-]+", re.ASCII)


@dataclass(frozen=True)
class Static:
    """Files under ``directory`` are served at ``url``, which begins and ends with a slash."""

    url: str
    directory: str

    def __post_init__(self) -> None:
        if not (self.url.startswith("/") and self.url.endswith("/")) or self.url == "/":
            raise ValueError(f"{self.url!r} does not begin and end with /, as in /static/")
        for text in (self.url, self.directory):
            # nginx has no way to write these: $ begins a variable, wherever it stands
            if any(not each.isprintable() or each in '$"\\' for each in text):
                raise ValueError(f"{text!r} has a character that nginx's files cannot hold")
        if not self.directory.startswith("/"):
            raise ValueError(f"{self.directory!r} is not an absolute path")


@dataclass(frozen=True)
class Front:
    """The contents of nginx's file. Seconds, bytes, counts.

    ``listen``: a port, ``host:port`` or ``unix:/path``; ``upstream``: the server's ``host:port`` or
    ``unix:/path``. ``idle``: connections to the server that one process keeps for the next request,
    0 for none. ``upgrades``: whether WebSockets are passed on. ``told_scheme``: something in front
    of this nginx ended TLS and says so in X-Forwarded-Proto.
    """

    listen: str = "80"
    upstream: str = "127.0.0.1:8000"
    worker_processes: int = 1
    worker_connections: int = 4096
    backlog: int = 2048
    idle: int = 0
    idle_s: float = 60.0
    connect_s: float = CONNECT_S
    read_s: float = NO_TIMEOUT_S
    client_idle_s: float = CLIENT_IDLE_S
    largest_body: int = LARGEST_BODY
    statics: tuple[Static, ...] = ()
    upgrades: bool = False
    told_scheme: bool = False

    def __post_init__(self) -> None:
        for text in (self.listen, self.upstream):
            if not _ADDRESS.fullmatch(text):
                raise ValueError(f"{text!r} is no address that nginx could be told")


@dataclass(frozen=True)
class Instance:
    """The further settings of an nginx of our own: all its files lie in ``directory``.

    ``user``: of the worker processes, where the master is root; "" otherwise.
    """

    directory: str
    user: str = ""


def before(
    server: str,
    settings: Settings,
    *,
    listen: str = "80",
    upstream: str = "127.0.0.1:8000",
    processes: int = 1,
    statics: Sequence[Static] = (),
    told_scheme: bool = False,
) -> Front:
    """Make the front that fits a server of these settings."""
    slots = min(settings.slots, MOST_IDLE * processes)
    kept = catalogue.find(server).keeps_connections(settings)
    return Front(
        listen=listen,
        upstream=upstream,
        worker_processes=processes,
        backlog=settings.backlog,
        idle=math.ceil(slots / processes) if kept else 0,
        idle_s=settings.keepalive * IDLE_PART,
        read_s=read_timeout(server, settings),
        statics=tuple(statics),
        upgrades=settings.interface == "asgi",
        told_scheme=told_scheme,
    )


def read_timeout(server: str, settings: Settings) -> float:
    """Longer than the server's own; where that ends no request, the only one there is."""
    if settings.timeout <= 0:
        return NO_TIMEOUT_S
    return math.ceil(catalogue.find(server).longest_request_s(settings)) + READ_MARGIN_S


# One directive with its reason, or a block of them.
@dataclass(frozen=True)
class Line:
    text: str
    why: str = ""


@dataclass(frozen=True)
class Block:
    opening: str
    inside: tuple[Line | Block, ...]


def render(front: Front, instance: Instance | None = None) -> str:
    """The whole nginx.conf. ``instance``: of one that we start; else it is for a system's nginx."""
    rows: list[Line | Block] = [*_main(front, instance)]
    rows += [_events(front), Block("http", (*_http(front, instance),))]
    return "\n".join(_written(rows, 0)) + "\n"


def _written(rows: Sequence[Line | Block], depth: int) -> list[str]:
    indent = "    " * depth
    lines = []
    for row in rows:
        if isinstance(row, Block):
            lines += [f"{indent}{row.opening} {{", *_written(row.inside, depth + 1), f"{indent}}}"]
            continue
        lines += [f"{indent}# {row.why}"] if row.why else []
        lines.append(f"{indent}{row.text};")
    return lines


def _main(front: Front, instance: Instance | None) -> list[Line]:
    rows = [Line(f"worker_processes {front.worker_processes}")]
    if front.worker_connections > USUAL_FDS // 2:
        rows.append(
            Line(
                f"worker_rlimit_nofile {2 * front.worker_connections}",
                "a descriptor for each connection, and some for files",
            )
        )
    if instance is None:
        usual = Line("user www-data", "Debian's and Ubuntu's; elsewhere it is nginx or http")
        return [usual, *rows, Line("pid /run/nginx.pid")]
    user = [Line(f"user {instance.user}")] if instance.user else []
    own = [
        Line("daemon off"),
        Line(f'pid "{instance.directory}/nginx.pid"'),
        Line("error_log stderr warn"),
    ]
    return [*user, *rows, *own]


def _events(front: Front) -> Block:
    why = "both sides count: a request that is passed on takes two"
    return Block("events", (Line(f"worker_connections {front.worker_connections}", why),))


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _http(front: Front, instance: Instance | None) -> list[Line | Block]:
    rows: list[Line | Block] = []
    if instance is not None:
        rows += [Line(f'{name}_temp_path "{instance.directory}/{name}"') for name in _TEMPORARY]
        rows.append(Line("access_log off"))
    if front.statics:
        rows += [
            Line(f"include {MIME_TYPES}"),
            Line("default_type application/octet-stream"),
            Line("sendfile on"),
            Line("tcp_nopush on"),
        ]
    rows.append(Line("server_tokens off"))
    if front.upgrades:
        kept = '""' if front.idle else "close"
        rows.append(
            Block(
                "map $http_upgrade $connection_to_server",
                (Line("default upgrade"), Line(f'"" {kept}')),
            )
        )
    if front.told_scheme:
        rows.append(
            Block(
                "map $http_x_forwarded_proto $told_scheme",
                (Line("default $http_x_forwarded_proto"), Line('"" $scheme')),
            )
        )
    return [*rows, _upstream(front), _server(front)]


def _upstream(front: Front) -> Block:
    rows = [Line(f"server {front.upstream}")]
    if front.idle:
        rows += [
            Line(
                f"keepalive {front.idle}",
                "idle connections a process keeps: as many as requests are served at once",
            ),
            Line(
                f"keepalive_timeout {_time(front.idle_s)}",
                "shorter than the server's own, so that it never closes one under a new request",
            ),
        ]
    return Block("upstream app", tuple(rows))


def _server(front: Front) -> Block:
    rows: list[Line | Block] = [
        Line(f"listen {front.listen} backlog={front.backlog}"),
        Line(
            f"keepalive_timeout {_time(front.client_idle_s)}",
            "for clients; longer than a load balancer's, which else uses a closed connection",
        ),
        Line(
            f"client_max_body_size {front.largest_body // (1 << 20)}m",
            "larger bodies are answered 413; set it to the largest upload that you allow",
        ),
    ]
    for static in front.statics:
        rows.append(
            Block(
                f'location ^~ "{static.url}"',
                (Line(f'alias "{static.directory.rstrip("/")}/"', "no worker is asked for these"),),
            )
        )
    rows.append(Block("location /", tuple(_passing(front))))
    return Block("server", tuple(rows))


def _passing(front: Front) -> list[Line]:
    closing = '""' if front.idle else "close"
    connection = "$connection_to_server" if front.upgrades else closing
    rows = [
        Line("proxy_pass http://app"),
        Line("proxy_http_version 1.1", "nginx would speak 1.0, which keeps no connection"),
        Line(f"proxy_set_header Connection {connection}"),
    ]
    if front.upgrades:
        rows.append(Line("proxy_set_header Upgrade $http_upgrade"))
    rows += _forwarded(front)
    rows += [
        Line("proxy_redirect off"),
        Line(
            "proxy_request_buffering on",
            "an upload is passed on when it is complete, so a slow one holds no worker",
        ),
        Line(
            "proxy_buffering on",
            "an answer is taken at once and kept for a slow reader",
        ),
        Line(f"proxy_connect_timeout {_time(front.connect_s)}"),
        Line(
            f"proxy_read_timeout {_time(front.read_s)}",
            "longer than the server's timeout, which so ends what is stuck, and says so",
        ),
    ]
    return rows


def _forwarded(front: Front) -> list[Line]:
    """List the header lines that tell server and app who the client is."""
    client = "$proxy_add_x_forwarded_for" if front.told_scheme else "$remote_addr"
    scheme = "$told_scheme" if front.told_scheme else "$scheme"
    headers = [("Host", "$http_host"), ("X-Forwarded-For", client), ("X-Forwarded-Proto", scheme)]
    rows = [Line(f"proxy_set_header {name} {value}") for name, value in headers]
    rows[1] = Line(
        rows[1].text,
        "set, not appended: what a client says of itself is no news"
        if not front.told_scheme
        else "",
    )
    # of a client that says these, gunicorn and the embedded server would see a contradiction
    return rows + [
        Line(f'proxy_set_header {name} ""')
        for name in ("X-Forwarded-Protocol", "X-Forwarded-Ssl", "Forwarded", "Proxy")
    ]


def _time(seconds: float) -> str:
    """As nginx writes times: ``30s``, ``2500ms``."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{math.ceil(seconds * 1000)}ms"
