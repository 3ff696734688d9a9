"""The file to deploy, for the server that the answer was verified on.

gunicorn and the embedded server read gunicorn.conf.py; of the rest of the field some read a file of
options, the others take flags, so their file is the command.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pretune.reports import commented, gunicorn_conf, redaction, setting
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
    """Its name, without the version. Of older reports the one that was verified on."""
    name = document["recommendation"].get("server")
    verification = document.get("verification") or {}
    return str(name or verification.get("server") or "").partition(" ")[0]


def _settings(document: Document) -> Settings:
    return Settings(**document["recommendation"]["settings"])


def _notes(document: Document, server: FieldServer) -> str:
    """Each setting that has a reason and what is meant by it, or why it is not given."""
    lines = []
    recommendation, settings = document["recommendation"], _settings(document)
    reasons, impossible = recommendation["reasons"], server.impossible(settings)
    stated = [name for name, _ in setting.select_effective(recommendation["settings"])]
    for name in dict.fromkeys([*reasons, *(name for name in stated if name in impossible)]):
        meaning = server.settings.get(name)
        if meaning is None:
            continue
        parts = [reasons.get(name, "")]
        if not meaning.option:
            lead = f"{name}: {server.name} has no such option."
            parts = parts if name == "max_requests" else []
            parts.append(meaning.says)
        else:
            lead = f"{meaning.option}:"
            parts.append(f"On {server.name}: {meaning.says}")
        if name in impossible:
            parts.append(impossible[name])
        said = lead
        for part in filter(None, parts):
            told = part.removeprefix(f"On {server.name}: ").rstrip(".")
            said += "" if told in said else f" {part}"
        lines.append(commented.comment(said))
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
