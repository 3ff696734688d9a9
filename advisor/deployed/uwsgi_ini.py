"""uWSGI's ini file: its section ``[uwsgi]``, with its placeholders.

Source: uwsgi-docs.readthedocs.io, Configuring uWSGI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pretune.advisor.deployed.arguments import Said, read
from pretune.advisor.deployed.grammar import GRAMMARS
from pretune.advisor.deployed.shell import Surroundings, Word, expand
from pretune.advisor.deployed.value import Setting

_GRAMMAR = GRAMMARS["uwsgi"]
_OFF = ("false", "0", "no", "off")
# words of the file that are no options: logic and names of its own
_LOGIC = re.compile(r"if-.*|for.*|end(if|for)?|else|print|exec.*|.*%\(.*|_.*")


def parse(file: str, text: str, around: Surroundings) -> Said:
    """All of it as a command line would say it. A key of the file itself may be a placeholder."""
    settings: dict[str, Setting] = {}
    unknown: list[str] = []
    other: dict[str, str] = {}
    application = ""
    pairs = _pairs(text)
    own = {key: value for _, key, value in pairs}
    used = set(re.findall(r"%\((\w[\w-]*)\)", text))
    for number, key, value in pairs:
        where = f"{file}:{number}"
        flag = f"--{key}" if len(key) > 1 else f"-{key}"
        word = Word.of(expand(_placed(value, own, around), around))
        if flag in _GRAMMAR.switches:
            what = _GRAMMAR.switches[flag]
            if what is not None and value.lower() not in _OFF:
                settings[what[0]] = Setting(what[1], where)
        elif flag not in _GRAMMAR.valued:
            if not _LOGIC.fullmatch(key) and key not in used:
                unknown.append(f"{key} ({where})")
            continue
        elif setting := _GRAMMAR.valued[flag]:
            settings[setting] = read(_GRAMMAR, setting, word, where)
        elif flag in _GRAMMAR.application:
            application = word.text
        other[key] = word.text
    return Said(settings, tuple(unknown), (), application, None, other)


def _pairs(text: str) -> list[tuple[int, str, str]]:
    found = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("["):
            inside = line.startswith("[uwsgi]")
        elif inside and line and line[0] not in "#;":
            key, equals, value = line.partition("=")
            found.append((number, key.strip(), value.strip() if equals else "true"))
    return found


def _placed(value: str, own: Mapping[str, str], around: Surroundings) -> str:
    """``%(name)`` of the file itself, ``%k`` the cores, ``$(NAME)`` of the environment."""
    value = re.sub(r"\$\((\w+)\)", r"${\1}", value)
    value = re.sub(r"%k\b", "$(nproc)", value)
    for _ in range(3):  # placeholders of placeholders
        value = re.sub(r"%\(([\w-]+)\)", lambda m: own.get(m[1], f"${m[1]}")[:200], value)[:1000]
    return re.sub(r"%\(([^()]*(?:\(nproc\))?[^()]*)\)", r"$((\1))", value)
