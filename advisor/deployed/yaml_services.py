"""YAML files that list services with a start command: App Engine's app.yaml, DigitalOcean's app
spec, render.yaml, heroku.yml.

Sources: cloud.google.com/appengine/docs/standard/reference/app-yaml,
docs.digitalocean.com/products/app-platform/reference/app-spec, render.com/docs/blueprint-spec,
devcenter.heroku.com/articles/build-docker-images-heroku-yml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pretune.advisor.deployed.procfile import SERVING
from pretune.advisor.deployed.value import Command, Reading
from pretune.advisor.deployed.yaml_nodes import Node, NotUnderstood, parse

# Processes that take no requests.
_SILENT = frozenset({"worker", "cron", "pserv", "job", "static"})


@dataclass(frozen=True)
class _Format:
    """``services``: the list of services, "" where the document is one. ``commands``: keys of a
    service, the strongest first. ``environ``: the key of the variables and how one is named."""

    services: str
    commands: tuple[str, ...]
    environ: tuple[str, str, str]
    dockerfile: str = ""


_APP_ENGINE = _Format("", ("entrypoint",), ("env_variables", "", ""))
_DIGITALOCEAN = _Format("services", ("run_command",), ("envs", "key", "value"), "dockerfile_path")
_RENDER = _Format("services", ("startCommand", "dockerCommand"), ("envVars", "key", "value"),
                  "dockerfilePath")  # fmt: skip


def read(file: str, text: str) -> Reading:
    try:
        documents = parse(text)
    except NotUnderstood as error:
        return Reading(problems=(f"{file} is YAML that is not understood here: {error}",))
    commands: list[Command] = []
    for document in documents:
        if document.get("kind") is not None:  # Kubernetes'
            continue
        if document.get("run") is not None and document.get("build") is not None:
            commands += _heroku(file, document)
        elif document.get("services") is not None:
            first = next(iter(document.pairs["services"].items or ()), None)  # type: ignore[index]
            render = first is not None and first.get("type") is not None
            commands += _read(file, document, _RENDER if render else _DIGITALOCEAN)
        elif document.get("runtime") is not None:
            commands += _read(file, document, _APP_ENGINE)
    return Reading(tuple(commands))


def _heroku(file: str, document: Node) -> Iterator[Command]:
    run = document.get("run")
    built = document.get("build", "docker", "web")
    for name in SERVING:
        node = run.get(name) if run is not None else None
        command = node.get("command") if node is not None and node.pairs is not None else node
        if command is None:
            continue
        text = command.text or " ".join(each.text or "" for each in command.scalars())
        image = (built.text if built is not None else None) or ""
        yield Command(file, name, command.lines, text=text, built=image)


def _read(file: str, document: Node, form: _Format) -> Iterator[Command]:
    around = _environ(file, document, form)
    services = document.get(form.services) if form.services else None
    for node in (services.items or ()) if services is not None else (document,):
        kind = node.get("type")
        if node.pairs is None or (kind is not None and kind.text in _SILENT):
            continue
        environ = {**around, **_environ(file, node, form)}
        image = node.get(form.dockerfile) if form.dockerfile else None
        built = (image.text or "") if image is not None else ""
        name = node.get("name")
        shown = (name.text or "") if name is not None else ""
        started = next((c for key in form.commands if (c := node.get(key)) is not None), None)
        if started is not None and started.text:
            yield Command(file, shown, started.lines, text=started.text, environ=environ,
                          built=built or ("Dockerfile" if form is _RENDER else ""))  # fmt: skip
        elif built:
            yield Command(file, shown, node.lines, environ=environ, built=built)


def _environ(file: str, node: Node, form: _Format) -> dict[str, tuple[str, str]]:
    key, name, value = form.environ
    given = node.get(key)
    if given is None:
        return {}
    if not name:
        return {
            each: (held.text, f"{file}:{held.line}")
            for each, held in (given.pairs or {}).items()
            if held.text is not None
        }
    found = {}
    for each in given.items or ():
        named, held = each.get(name), each.get(value)
        if named is not None and named.text and held is not None and held.text is not None:
            found[named.text] = (held.text, f"{file}:{held.line}")
    return found
