"""uWSGI's ini file: its section ``[uwsgi]``, with its placeholders.

Source: uwsgi-docs.readthedocs.io, Configuring uWSGI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pretune.advisor.deployed import yaml_nodes
from pretune.advisor.deployed.arguments import Said, read
from pretune.advisor.deployed.grammar import GRAMMARS
from pretune.advisor.deployed.shell import Surroundings, Word, expand, mark_unknown
from pretune.advisor.deployed.value import Setting

_GRAMMAR = GRAMMARS["uwsgi"]
_OFF = ("false", "0", "no", "off")
# words of the file that are no options: logic and names of its own
_OPTION = re.compile(r"[a-z][a-z0-9_-]*")
_LOGIC = re.compile(r"if-.*|for.*|end(if|for)?|else|print|exec.*|.*%\(.*|_.*")


@dataclass(frozen=True)
class _Condition:
    """``holds`` None: only the run knows. ``usual``: what holds where no variable is set."""

    holds: bool | None
    note: str
    usual: bool | None


def parse(file: str, text: str, around: Surroundings, section: str = "uwsgi") -> Said:
    """All of it as a command line would say it. A key of the file itself may be a placeholder.

    What stands under ``if-env`` counts where the variable is set, under ``if-not-env`` where it is
    not; where that is not known, the variable is taken not to be set, and this is said.
    """
    return _parsed(file, _pairs(text, section), text, around)


def parse_yaml(file: str, text: str, around: Surroundings) -> Said:
    """The map ``uwsgi`` of a YAML or JSON file."""
    try:
        documents = yaml_nodes.parse(text)
    except yaml_nodes.NotUnderstood as error:
        return Said(unknown=(f"{file} is YAML that is not understood here: {error}",))
    pairs = [
        (node.line, key, each.text or "")
        for document in documents
        for key, node in ((document.get("uwsgi") or yaml_nodes.Node(())).pairs or {}).items()
        for each in node.scalars()
    ]
    return _parsed(file, pairs, text, around)


def _parsed(file: str, pairs: list[tuple[int, str, str]], text: str, around: Surroundings) -> Said:
    settings: dict[str, Setting] = {}
    unknown: list[str] = []
    other: dict[str, str] = {}
    application = ""
    own = {key: value for _, key, value in pairs}
    used = set(re.findall(r"%\((\w[\w-]*)\)", text))
    conditions: list[_Condition] = []
    for number, key, value in pairs:
        where = f"{file}:{number}"
        if key.startswith("if-"):
            conditions.append(_condition(key, value, around))
            own["_"] = around.variables.get(value, f"${value}")
            continue
        if key in ("endif", "end-if"):
            del conditions[-1:]
            continue
        if any(each.holds is False for each in conditions):
            continue
        flag = f"--{key}" if len(key) > 1 else f"-{key}"
        word = Word.from_marked(expand(_placed(value, own, around), around))
        if flag in _GRAMMAR.switches:
            what = _GRAMMAR.switches[flag]
            if what is None or value.lower() in _OFF:
                continue
            name, setting = what[0], Setting(what[1], where)
        elif flag not in _GRAMMAR.valued:
            if not _LOGIC.fullmatch(key) and key not in used and not _GRAMMAR.has_nothing(flag):
                unknown.append(
                    f"{key if _OPTION.fullmatch(key) else 'what stands there'} ({where})"
                )
            continue
        elif name := _GRAMMAR.valued[flag]:
            setting = read(_GRAMMAR, name, word, where)
        else:
            application = word.text if flag in _GRAMMAR.application else application
            other[key] = word.text
            continue
        settings[name] = _conditional(name, setting, settings.get(name), conditions)
    mounted = other.get("mount", "").partition("=")[2]
    return Said(settings, tuple(unknown), (), application or mounted, None, other)


def _condition(key: str, value: str, around: Surroundings) -> _Condition:
    if key in ("if-env", "if-not-env"):
        set_ = value.partition("=")[0] in around.variables or None
        name = f"unless ${value} is set"
        if key == "if-env":
            return _Condition(set_, name, False)
        return _Condition(None if set_ is None else False, name, True)
    return _Condition(None, f"decided by {key} {value[:60]} at run time", None)


def _conditional(
    name: str, setting: Setting, before: Setting | None, conditions: list[_Condition]
) -> Setting:
    for each in conditions:
        if each.holds is not None:
            continue
        if each.usual is None:
            return Setting(None, setting.where, each.note)
        if not each.usual:
            before = before or Setting(_GRAMMAR.defaults.get(name), "uwsgi's default")
            noted = ", ".join(dict.fromkeys(filter(None, (before.note, each.note))))
            return replace(before, note=noted)
        if setting.value is not None:
            setting = replace(setting, note=each.note)
    return setting


_COMMENT = re.compile(r"\s+[#;].*")


def _pairs(text: str, section: str) -> list[tuple[int, str, str]]:
    pairs = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("["):
            inside = line.startswith(f"[{section}]")
        elif inside and line and line[0] not in "#;":
            key, equals, value = line.partition("=")
            value = _COMMENT.sub("", value.strip())
            pairs.append((number, _COMMENT.sub("", key.strip()), value if equals else "true"))
    return pairs


def _placed(value: str, own: Mapping[str, str], around: Surroundings) -> str:
    """``%(name)`` of the file itself, ``%k`` the cores, ``$(NAME)`` of the environment."""
    value = re.sub(r"\$\((\w+)\)", r"${\1}", value)
    value = re.sub(r"@\(([^()]*)\)", lambda m: mark_unknown(m[1]), value)
    value = re.sub(r"%k\b", "$(nproc)", value)
    for _ in range(3):  # placeholders of placeholders
        value = re.sub(r"%\(([\w-]+)\)", lambda m: own.get(m[1], f"${m[1]}")[:200], value)[:1000]
    return re.sub(r"%\(([^()]*(?:\(nproc\))?[^()]*)\)", r"$((\1))", value)
