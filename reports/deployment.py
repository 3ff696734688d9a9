"""The file to deploy, for the server that the answer was verified on.

gunicorn and the embedded server read gunicorn.conf.py; of the rest of the field some read a file of
options, the others take flags, so their file is the command.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pretune.reports import commented, gunicorn_conf, redaction
from pretune.reports.document import Document
from pretune.server.adapters import nginx_conf as nginx
from pretune.server.adapters.catalogue import SERVERS, ini_files
from pretune.server.adapters.nginx_conf import Front, Static
from pretune.server.adapters.server import FieldServer, IniFile, Words
from pretune.server.settings import Settings

CONF, SCRIPT = "gunicorn.conf.py", "start.sh"
FRONT = "nginx.conf"
NAMES = (CONF, *ini_files(), SCRIPT, FRONT)


@dataclass(frozen=True)
class Deployment:
    """``command``: what starts the server beside the file."""

    name: str
    text: str
    command: str


def choose(document: Document) -> Deployment:
    """Raises gunicorn_conf.NothingRecommended."""
    if not document.get("recommendation"):
        raise gunicorn_conf.NothingRecommended("the report recommends no settings")
    server = SERVERS.get(_server(document))
    if server is None:
        command = gunicorn_conf.start_command(document)
        return Deployment(CONF, gunicorn_conf.render(document), command)
    document = redaction.redacted(document)
    if isinstance(server.deployed, IniFile):
        return _ini(document, server, server.deployed)
    return _script(document, server, server.deployed)


def render_front(document: Document) -> Deployment | None:
    """The file of what stands in front of the server; None where nothing does."""
    config = (document.get("front") or {}).get("told")
    if not config:
        return None
    document = redaction.redacted(document)
    try:
        statics = tuple(Static(**each) for each in config["statics"])
        made = nginx.render(Front(**{**config, "statics": statics}))
    except (TypeError, ValueError):  # a report of other versions, or of somebody else
        return None
    command = f'nginx -c "$PWD/{FRONT}"'
    text = (
        f"{commented.header(document, command)}\n#\n"
        "# A whole nginx.conf. TLS is yours to add: listen 443 ssl, and the certificate's files.\n"
        f"\n{made}"
    )
    return Deployment(FRONT, text, command)


def choose_all(document: Document) -> dict[str, Deployment]:
    """All there is to deploy: what it is -> the file."""
    front = render_front(document)
    return {"configuration": choose(document)} | ({"front": front} if front else {})


def _server(document: Document) -> str:
    """Its name, without the version."""
    verification = document.get("verification") or {}
    return str(verification.get("server") or "").partition(" ")[0]


def _settings(document: Document) -> Settings:
    return Settings(**document["recommendation"]["settings"])


def _notes(document: Document, server: FieldServer) -> str:
    """Each setting that has a reason, and what it is meant."""
    lines = []
    for name, reason in document["recommendation"]["reasons"].items():
        meaning = server.settings.get(name)
        if meaning is not None and meaning.option:
            meant = (
                "" if meaning.says.rstrip(".") in reason else f" On {server.name}: {meaning.says}"
            )
            lines.append(commented.comment(f"{meaning.option}: {reason}{meant}"))
        elif meaning is not None:
            lines.append(
                commented.comment(f"{name}: {server.name} has no such option. {meaning.says}")
            )
    return "\n".join([*lines, *map(commented.comment, server.remarks)])


def _ini(document: Document, server: FieldServer, file: IniFile) -> Deployment:
    options = server.options(_settings(document))
    lines = [f"{option} = {value or 'true'}" for option, value in options]
    name = commented.application(document)
    text = (
        f"{commented.header(document, file.command)}\n#\n{_notes(document, server)}\n\n"
        f"{file.head.format(application=name)}" + "\n".join(lines) + "\n"
    )
    return Deployment(file.name, text, file.command)


def _script(document: Document, server: FieldServer, words: Words) -> Deployment:
    settings = _settings(document)
    before, after = words(commented.application(document), settings)
    flags = [f"--{option}={value}" for option, value in server.options(settings)]
    text = (
        "#!/bin/sh\n"
        f"{commented.header(document, f'sh {SCRIPT}')}\n#\n{_notes(document, server)}\n\n"
        f"exec {' '.join(map(shlex.quote, [*before, *flags, *after]))}\n"
    )
    return Deployment(SCRIPT, text, f"sh {SCRIPT}")
