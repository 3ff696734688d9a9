"""uWSGI's ini file: its section ``[uwsgi]``, with its placeholders.

Source: uwsgi-docs.readthedocs.io, Configuring uWSGI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from pretune.advisor.deployed.arguments import Said, read
from pretune.advisor.deployed.grammar import GRAMMARS
from pretune.advisor.deployed.shell import Surroundings, Word, expand
from pretune.advisor.deployed.value import Setting

_GRAMMAR = GRAMMARS["uwsgi"]
_OFF = ("false", "0", "no", "off")
# words of the file that are no options: logic and names of its own
_OPTION = re.compile(r"[a-z][a-z0-9_-]*")
_LOGIC = re.compile(r"if-.*|for.*|end(if|for)?|else|print|exec.*|.*%\(.*|_.*")


def parse(file: str, text: str, around: Surroundings) -> Said:
    """All of it as a command line would say it. A key of the file itself may be a placeholder.

    What stands under ``if-env`` counts where the variable is known; else it is said that it may.
    """
    settings: dict[str, Setting] = {}
    unknown: list[str] = []
    other: dict[str, str] = {}
    application = ""
    pairs = _pairs(text)
    own = {key: value for _, key, value in pairs}
    used = set(re.findall(r"%\((\w[\w-]*)\)", text))
    asked = ""  # the variable that an if-env around this line asks for
    for number, key, value in pairs:
        where = f"{file}:{number}"
        if key in ("if-env", "endif"):
            asked = value if key == "if-env" else ""
            own["_"] = around.variables.get(asked, f"${asked}")
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
        if asked and asked not in around.variables:
            before = settings.get(name) or Setting(_GRAMMAR.defaults.get(name), "uwsgi's default")
            setting = replace(before, note=f"unless ${asked} is set")
        settings[name] = setting
    return Said(settings, tuple(unknown), (), application, None, other)


def _pairs(text: str) -> list[tuple[int, str, str]]:
    pairs = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("["):
            inside = line.startswith("[uwsgi]")
        elif inside and line and line[0] not in "#;":
            key, equals, value = line.partition("=")
            pairs.append((number, key.strip(), value.strip() if equals else "true"))
    return pairs


def _placed(value: str, own: Mapping[str, str], around: Surroundings) -> str:
    """``%(name)`` of the file itself, ``%k`` the cores, ``$(NAME)`` of the environment."""
    value = re.sub(r"\$\((\w+)\)", r"${\1}", value)
    value = re.sub(r"%k\b", "$(nproc)", value)
    for _ in range(3):  # placeholders of placeholders
        value = re.sub(r"%\(([\w-]+)\)", lambda m: own.get(m[1], f"${m[1]}")[:200], value)[:1000]
    return re.sub(r"%\(([^()]*(?:\(nproc\))?[^()]*)\)", r"$((\1))", value)
