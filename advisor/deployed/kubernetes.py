"""Kubernetes manifests: the containers of what runs pods. A container's ``command`` replaces the
image's ENTRYPOINT and CMD, its ``args`` the CMD alone.

Source: kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container. Helm's
templates are read with the values of the chart, where they are plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pretune.advisor.deployed.templates import filled
from pretune.advisor.deployed.value import Command, Fact, Reading
from pretune.advisor.deployed.yaml_nodes import Node, NotUnderstood, parse

MARKER = re.compile(r"^\s*(?:initC|c)ontainers:", re.MULTILINE)
_KINDS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Service",
                    "Rollout", "DeploymentConfig"})  # fmt: skip
_OURS = re.compile(r"\$\((\w+)\)")
_DEEPEST = 6


def read(file: str, text: str, values: Mapping[str, str] | None = None) -> Reading:
    try:
        documents = parse(filled(text, values))
    except NotUnderstood as error:
        return Reading(problems=(f"{file} is YAML that is not understood here: {error}",))
    flat = [each for document in documents for each in _listed(document)]
    maps = {_name(each): each for each in flat if _text(each, "kind") == "ConfigMap"}
    commands: list[Command] = []
    for document in flat:
        if _text(document, "kind") in _KINDS:
            for container in _containers(document):
                commands.append(_command(file, document, container, maps))
    return Reading(tuple(commands))


def values_of(text: str) -> dict[str, str]:
    """values.yaml as ``web.workers`` -> ``3``."""
    try:
        documents = parse(text)
    except NotUnderstood:
        return {}
    found: dict[str, str] = {}

    def walk(node: Node, path: str, depth: int) -> None:
        for key, each in (node.pairs or {}).items():
            if each.text is not None and "\n" not in each.text:
                found[f"{path}{key}"] = each.text
            elif depth < _DEEPEST:
                walk(each, f"{path}{key}.", depth + 1)

    for document in documents:
        walk(document, "", 0)
    return found


def _listed(document: Node) -> Iterator[Node]:
    items = document.get("items")
    yield from (items.items or ()) if items is not None else (document,)


def _containers(document: Node) -> Iterator[Node]:
    for path in (("spec", "template", "spec", "containers"), ("spec", "containers")):
        containers = document.get(*path)
        if containers is not None:
            yield from (each for each in containers.items or () if each.pairs is not None)


def _command(file: str, document: Node, container: Node, maps: Mapping[str, Node]) -> Command:
    command, arguments = container.get("command"), container.get("args")
    environ, unread = _environ(file, container, maps)
    words = tuple(_expanded(node.text or "", environ) for part in (command, arguments)
                  if part is not None for node in part.scalars())  # fmt: skip
    lines = (
        tuple(line for part in (command, arguments) if part is not None for line in part.lines)
        or container.lines
    )
    directory = container.get("workingDir")
    return Command(
        file,
        _text(container, "name"),
        lines,
        words=words,
        environ=environ,
        directory=(directory.text or "") if directory is not None else "",
        facts=_facts(file, document, container),
        built="Dockerfile",
        replaces="both" if command is not None else "CMD",
        unread=unread,
    )


def _environ(
    file: str, container: Node, maps: Mapping[str, Node]
) -> tuple[dict[str, tuple[str, str]], tuple[str, ...]]:
    found: dict[str, tuple[str, str]] = {}
    unread: list[str] = []
    sources = container.get("envFrom")
    for each in (sources.items or ()) if sources is not None else ():
        for kind in ("configMapRef", "secretRef"):
            named = each.get(kind, "name")
            if named is None or named.text is None:
                continue
            held = maps.get(named.text) if kind == "configMapRef" else None
            if held is None:
                if kind == "configMapRef":
                    unread.append(f"the ConfigMap {named.text}")
                continue
            for name, value in ((held.get("data") or Node(())).pairs or {}).items():
                found[name] = (value.text or "", f"{file}:{value.line}")
    variables = container.get("env")
    for each in (variables.items or ()) if variables is not None else ():
        name, held = _text(each, "name"), each.get("value")
        reference = each.get("valueFrom", "configMapKeyRef")
        if reference is not None and (source := maps.get(_text(reference, "name"))) is not None:
            held = source.get("data", _text(reference, "key"))
        if name and held is not None and held.text is not None:
            found[name] = (_expanded(held.text, found), f"{file}:{held.line}")
        elif name in ("WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"):
            unread.append(f"{file}:{each.line}")
    return found, tuple(unread)


def _expanded(text: str, environ: Mapping[str, tuple[str, str]]) -> str:
    return _OURS.sub(lambda m: environ[m[1]][0] if m[1] in environ else m[0], text)


def _facts(file: str, document: Node, container: Node) -> tuple[Fact, ...]:
    found = []
    for path, node, name in (
        (("spec", "replicas"), document, "replicas"),
        (("resources", "limits", "memory"), container, "memory limit"),
        (("resources", "limits", "cpu"), container, "CPU limit"),
    ):
        value = node.get(*path)
        if value is not None and value.text and re.fullmatch(r"[\d.]+\w{0,2}", value.text):
            found.append(Fact(name, value.text, f"{file}:{value.line}"))
    return tuple(found)


def _text(node: Node, key: str) -> str:
    value = node.get(key)
    return (value.text or "") if value is not None else ""


def _name(document: Node) -> str:
    value = document.get("metadata", "name")
    return (value.text or "") if value is not None else ""
