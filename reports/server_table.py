"""docs/SERVERS.md: what gunicorn's settings are on each server of the field.

``python -m pretune.reports.server_table > docs/SERVERS.md``; a test holds the two together.
"""

from __future__ import annotations

from pretune.server.adapters import nginx_conf
from pretune.server.adapters.catalogue import SERVERS, every
from pretune.server.adapters.server import FieldServer

_HEAD = """\
# The other servers

`tune TARGET --server NAME` measures and verifies on one of these, as it is installed in the app's
environment and started by its own command. Without a name the answer is verified on the
server that the project's own files start ([GUIDE](GUIDE.md#todays-deployment)); its options are
read by the same table. Reports give settings by gunicorn's names; the tables below say what each
one means on the server. Where a server has no option for a setting, or the option cannot say it,
the report (`recommendation.impossible`) and the file to deploy name it with what follows. A limit
of requests is chosen only where somebody replaces the worker then. A leak on a server that does not
is counted until a restart from outside, every so many hours, which the report names; where one
worker is not replaced and two are, two are taken.
"""


_FRONT = f"""\
## nginx, in front of any of them

`{nginx_conf.INSTALL}`. With `--front nginx` the answer is verified through it, and its file is \
written.
It speaks HTTP/1.1 to the server, over TCP or a unix socket. These directives follow from the
server's settings:

| setting | directive | what is written |
|---|---|---|
| `timeout` | `proxy_read_timeout` | The timeout plus {nginx_conf.READ_MARGIN_S:g} s (mod_wsgi's \
as stretched by its threads), so the server ends what is stuck first, where it can. |
| `keepalive` | `keepalive_timeout` of the upstream | {nginx_conf.IDLE_PART:g} of it, so nginx \
closes an idle connection before the server does. |
| `workers`, `threads` | `keepalive` of the upstream | As many idle connections as requests are \
served at once, at most {nginx_conf.MOST_IDLE} per process; none where the server closes each: \
{{closes}}. |
| `backlog` | `listen ... backlog` | The same. |

The file sets `Host`, `X-Forwarded-For` and `X-Forwarded-Proto`, and clears other fields of that
kind. The embedded server, gunicorn, uvicorn, waitress (as tune starts it) and uWSGI believe a proxy
at 127.0.0.1 that TLS ended there (uWSGI believes everybody); the embedded server, gunicorn and
uWSGI believe it over a unix socket too. hypercorn, granian and mod_wsgi leave it to the app
(`ProxyFix` and the like). WebSockets are passed on to ASGI apps. The nginx that tune starts is
ended by QUIT, so that it answers what has begun.
"""


def render() -> str:
    """The whole page."""
    closing = [(s.name, kind) for s in every() for kind, c in s.classes.items() if c.closes]
    closes = ", ".join(f"{server}'s `{kind}`" for server, kind in sorted(closing))
    sections = [_section(server) for server in SERVERS.values()]
    return "\n".join([_HEAD, *sections, _FRONT.format(closes=closes)])


def _section(server: FieldServer) -> str:
    interfaces = " and ".join(name.upper() for name in server.interfaces)
    kinds = "; ".join(f"`{kind}`: {c.says}" for kind, c in server.classes.items())
    lines = [
        f"## {server.name}",
        "",
        f"`{server.install}`. Serves {interfaces}. {kinds}.",
        "",
        "| setting | option | what it really means there |",
        "|---|---|---|",
    ]
    for name, meaning in server.settings.items():
        option = f"`--{meaning.option}`" if meaning.option else "none"
        lines.append(f"| `{name}` | {option} | {meaning.says} |")
    lines += ["", _recycling(server), "", "Signals: " + ", ".join(_signals(server)) + "."]
    for option, value, why in server.fixed:
        lines.append(f"Always given: `--{option}{' ' + value if value else ''}` ({why}).")
    return "\n".join([*lines, *server.remarks]) + "\n"


def _recycling(server: FieldServer) -> str:
    said = f"At `max_requests`: {server.recycling.value}"
    if server.recycling_alone is not None:
        said += f"; with one worker {server.recycling_alone.value}"
    return said + "."


def _signals(server: FieldServer) -> list[str]:
    return [
        f"{what.replace('_', ' ')} {getattr(number, 'name', number)}"
        for what, number in server.signals.items()
    ]


if __name__ == "__main__":
    print(render(), end="")
