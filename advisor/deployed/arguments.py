"""A server's command line to what it says. Pure; what is not understood is named, not swallowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pretune.advisor.deployed.grammar import Grammar
from pretune.advisor.deployed.shell import Word
from pretune.advisor.deployed.value import Setting

_APP = re.compile(r"[\w./-]+:(?!//)\S+")
Place = Callable[[str], str]


@dataclass(frozen=True)
class Said:
    """``other``: options that name the app or a file, with their values, in their order."""

    settings: Mapping[str, Setting] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    application: str = ""
    config: Word | None = None
    other: Mapping[str, str] = field(default_factory=dict)


def parse(grammar: Grammar, words: Sequence[Word], place: Place) -> Said:
    """``place``: where a word stands."""
    settings: dict[str, Setting] = {}
    unknown: list[str] = []
    positional: list[str] = []
    other: dict[str, str] = {}
    config: Word | None = None
    application = ""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.text == "--":
            positional += [w.text for w in rest]
            break
        if not word.text.startswith("-") or word.text == "-":
            positional.append(word.text)
            continue
        flag, value = _parted(grammar, word)
        option = _full(grammar, flag)
        if option in grammar.switches and value is None:
            what = grammar.switches[option]
            if what is not None:
                settings[what[0]] = Setting(what[1], place(flag))
            continue
        if option not in grammar.valued:
            if not grammar.has_nothing(flag):
                unknown.append(f"{_shown(flag)} ({place(flag)})")
            if value is None and rest and not _is_next(rest[0]):
                rest.pop(0)
            continue
        if value is None:
            if not rest:
                unknown.append(f"{flag} without a value ({place(flag)})")
                break
            value = rest.pop(0)
        if setting := grammar.valued[option]:
            settings[setting] = read(grammar, setting, value, place(flag))
        elif option in grammar.application:
            application = value.text
        elif option in grammar.config:
            config = value
        other[option.lstrip("-")] = value.text
    return Said(settings, tuple(unknown), tuple(positional), application, config, other)


def _shown(flag: str) -> str:
    """``-p``, ``--page``: without a value that may be written with it."""
    match = re.match(r"--[\w.-]*|-.", flag)
    return match[0] if match else flag


def _is_next(word: Word) -> bool:
    """Return whether the word after an unknown option is certainly not its value."""
    return word.text.startswith("-") or bool(_APP.fullmatch(word.text))


def _parted(grammar: Grammar, word: Word) -> tuple[str, Word | None]:
    """The option and the value that is written with it: ``--workers=4``, ``-w4``."""
    text = word.text
    if text.startswith("--"):
        flag, equals, value = text.partition("=")
        return flag, word.rest(value) if equals else None
    flag, value = text[:2], text[2:].removeprefix("=")
    if text in grammar.valued or text in grammar.switches or not value:
        return text, None
    if flag in grammar.valued:
        return flag, word.rest(value)
    return text, None


def _full(grammar: Grammar, flag: str) -> str:
    if flag in grammar.valued or flag in grammar.switches or not flag.startswith("--"):
        return flag
    if grammar.abbreviates:
        options = {name for name in (*grammar.valued, *grammar.switches) if name.startswith(flag)}
        if len(options) == 1:
            return options.pop()
    return flag


def read(grammar: Grammar, setting: str, word: Word, where: str) -> Setting:
    """A setting's word to its value; one that cannot be read has none, and says why."""
    if word.unknown:
        return Setting(None, where, f"set by {', '.join(word.unknown)} at run time")
    try:
        value: Any = grammar.read(setting, word.text.strip())
    except (ValueError, OverflowError):
        shown = word.text if len(word.text) <= 40 else word.text[:40] + "..."
        return Setting(None, where, f"{shown!r} is not understood")
    return Setting(value, where, ", ".join(word.rests))
