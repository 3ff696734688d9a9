"""Shell text as deployment files hold it: expansion, words, one command after the other.

Not a shell: variables are replaced where the files give them a value, arithmetic is done, and of
all commands only those that count cores are known. What is left to run time stays in a word as a
mark, so that a setting can say who decides it.
"""

from __future__ import annotations

import ast
import operator
import re
import shlex
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

# Marks inside a text, of private code points: what is not known, what a value rests on. The last
# is compose's own. No text of a file keeps such a character.
_UNKNOWN = re.compile("\ue000([^\ue000-\ue003]*)\ue001")
_RESTS = re.compile("\ue002([^\ue000-\ue003]*)\ue003")
MARKS = re.compile("[\ue000-\ue004]")
_BLANK = "\u00a0"  # a space within a mark, that splits no word
_COUNTS_CORES = re.compile(
    r"(?:/usr/bin/)?nproc(?: --all)?|getconf _NPROCESSORS_ONLN|grep -c \^?processor /proc/cpuinfo"
)
_NAME = re.compile(r"[A-Za-z_]\w*")
_NAME_ALONE = re.compile(r"(?<![\w$\ue000\u00a0])[A-Za-z_]\w*(?![\w\u00a0\ue003])")
_BRACED = re.compile(r"(!?[A-Za-z_]\w*|[@*#?\d])(?:(:?[-=?+])(.*))?", re.DOTALL)
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_REDIRECTED = re.compile(r"[\d&]*[<>]")
# Files may be hostile: no text, value or nesting is followed further than this.
_LONGEST, _LONGEST_VALUE, _DEEPEST = 1 << 14, 1 << 12, 12


@dataclass(frozen=True)
class Word:
    """``unknown``: what decides it at run time, such as ``$WORKERS``; ``rests``: on what it rests,
    such as ``unless $WORKERS is set``."""

    text: str
    unknown: tuple[str, ...] = ()
    rests: tuple[str, ...] = ()

    @classmethod
    def from_marked(cls, marked: str) -> Word:
        unknown = tuple(dict.fromkeys(m.replace(_BLANK, " ") for m in _UNKNOWN.findall(marked)))
        rests = tuple(dict.fromkeys(m.replace(_BLANK, " ") for m in _RESTS.findall(marked)))
        text = _UNKNOWN.sub(lambda m: m[1].replace(_BLANK, " "), _RESTS.sub("", marked))
        return cls(MARKS.sub("", text), unknown, rests)

    def rest(self, text: str) -> Word:
        """The same with another text: a part of it."""
        return Word(text, self.unknown, self.rests)


@dataclass(frozen=True)
class Surroundings:
    """The variables and cores that the files and the machine give. ``arguments``: words of ``$@``,
    None outside scripts.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    arguments: tuple[str, ...] | None = None


def commands(text: str, around: Surroundings) -> Iterator[tuple[list[Word], dict[str, str]]]:
    """Each simple command of ``text`` with the variables that were assigned before it.

    Raises ValueError where quotes do not end.
    """
    assigned: dict[str, str] = {}
    # what is assigned is seen at once, also by the rest of its own command
    here = replace(around, variables=ChainMap(assigned, dict(around.variables)))
    for piece in _simple(re.sub(r"\\\r?\n", " ", text[:_LONGEST])):
        words = _simplest(shlex.split(expand(piece, here, assigned)))
        names = words[1:] if words[:1] == ["export"] else words
        pairs = [ASSIGNMENT.fullmatch(word) for word in names]
        if words[:1] == ["export"] or (words and all(pairs)):
            assigned.update({pair[1]: pair[2][:_LONGEST_VALUE] for pair in pairs if pair})
        elif words:
            yield [Word.from_marked(word) for word in _without_redirection(words)], dict(assigned)


_WORDS_OF_SHELL = ("if", "then", "else", "elif", "fi", "do", "done", "{", "}", "!", "(", ")")
_OPENING = re.compile(r"[\w-]+\(\)|[^()]+\)")  # of a function, of a case


def _simplest(words: list[str]) -> list[str]:
    """Without the shell's own words before a command: ``then``, ``case x in y)``, ``serve() {``."""
    if words[:1] == ["case"] and words[2:3] == ["in"]:
        words = words[3:]
    while words and (words[0] in _WORDS_OF_SHELL or _OPENING.fullmatch(words[0])):
        words = words[1:]
    if words and words[0].startswith("("):
        words = [words[0][1:], *words[1:]]
    return words


_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)[\"']?")


def _simple(text: str) -> Iterator[str]:
    """The simple commands of a text, quotes still in them; without comments and heredocs."""
    double = quoted = False
    start = i = 0
    until: list[str] = []
    while i < len(text):
        c = text[i]
        if c == "\\" and not quoted:
            i += 1
        elif c == "'" and not double:
            quoted = not quoted
        elif c == '"' and not quoted:
            double = not double
        elif quoted:
            pass
        elif text.startswith(("$(", "${"), i):
            i = _closing(text, i + 1, text[i + 1], ")" if text[i + 1] == "(" else "}")
        elif c == "`":
            end = text.find("`", i + 1)
            i = end if end > 0 else len(text)
        elif double:
            pass
        elif c == "#" and (i == 0 or text[i - 1] in " \t\n;&|("):
            yield text[start:i]
            end = text.find("\n", i)
            start = i = end if end > 0 else len(text)
            continue
        elif match := _HEREDOC.match(text, i):
            until.append(match[1])
            i = match.end() - 1
        elif c in ";&|\n" and not _redirects(text, i):
            yield text[start:i]
            if c == "\n" and until:
                i = _behind(text, i, until.pop(0))
            start = i + 1
        i += 1
    yield text[start:]


def _redirects(text: str, i: int) -> bool:
    """Return whether the ``&`` or ``|`` at ``i`` belongs to ``2>&1``, ``&>`` or ``>|``."""
    return text[i] in "&|" and (text[i - 1 : i] == ">" or text[i : i + 2] == "&>")


def _behind(text: str, i: int, word: str) -> int:
    """Find the end of a heredoc that begins behind ``i``."""
    end = re.compile(rf"^\s*{re.escape(word)}\s*$", re.MULTILINE).search(text, i)
    return end.end() if end else len(text)


def _without_redirection(words: list[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif _REDIRECTED.match(word):
            skip = word[-1] in "<>|"
        else:
            kept.append(word)
    return kept


def expand(
    text: str, around: Surroundings, assigned: dict[str, str] | None = None, depth: int = 0
) -> str:
    """``text`` with marks for what is not known. ``${NAME:=x}`` assigns into ``assigned``."""
    if depth > _DEEPEST:
        return _unknown(text)
    made: list[str] = []
    length = 0  # a variable of variables may double at every line
    quoted = double = False
    i = 0
    while i < len(text) and length < _LONGEST:
        c = text[i]
        if c == "'" and not double:
            quoted = not quoted
        elif c == '"' and not quoted:
            double = not double
        if quoted or c not in "$`\\":
            value, i = c, i + 1
        elif c == "\\":
            value, i = text[i : i + 2], i + 2
        elif c == "`":
            end = text.find("`", i + 1)
            end = len(text) if end < 0 else end
            value, i = _command(text[i + 1 : end], around, depth), end + 1
        else:
            value, i = _dollar(text, i, around, assigned, depth)
        made.append(value)
        length += len(value)
    return "".join(made)[:_LONGEST]


def _dollar(
    text: str, i: int, around: Surroundings, assigned: dict[str, str] | None, depth: int
) -> tuple[str, int]:
    """Expand the ``$`` at ``i``: its text, and the index where it ends."""
    if text.startswith("$((", i):
        end = _closing(text, i + 1, "(", ")")
        inner = expand(text[i + 3 : end - 1], around, assigned, depth + 1)
        return _arithmetic(inner, around), end + 1
    if text.startswith("$(", i):
        end = _closing(text, i + 1, "(", ")")
        return _command(text[i + 2 : end], around, depth), end + 1
    if text.startswith("${", i):
        end = _closing(text, i + 1, "{", "}")
        return _braced(text[i + 2 : end], around, assigned, depth), end + 1
    if text[i + 1 : i + 2] in ("@", "*") and around.arguments is not None:
        value = shlex.join(around.arguments)
        # "$@" in its quotes is as many words as there are
        return (f'"{value}"' if text[i - 1 : i] == '"' else value), i + 2
    name = _NAME.match(text, i + 1)
    if name is None:
        digit = text[i + 1 : i + 2]
        return (_unknown(f"${digit}"), i + 2) if digit.isdigit() else ("$", i + 1)
    return _value(name[0], around), name.end()


def _closing(text: str, start: int, opening: str, closing: str) -> int:
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == opening) - (text[i] == closing)
        if depth == 0:
            return i
    return len(text)


def _value(name: str, around: Surroundings) -> str:
    value = around.variables.get(name)
    if value is None:
        return _unknown(f"${name}")
    return re.sub(r"([\\'\"`])", r"\\\1", value)  # its quotes are its own


def _braced(inner: str, around: Surroundings, assigned: dict[str, str] | None, depth: int) -> str:
    match = _BRACED.fullmatch(inner)
    if match is None:
        begins = _NAME.match(inner)
        return _unknown(f"${{{begins[0] if begins else ''}...}}")
    name, how, word = match[1], match[2] or "", match[3] or ""
    if name in "@*" and around.arguments is not None:
        return shlex.join(around.arguments)
    value = around.variables.get(name)
    if how[-1:] == "+":
        return "" if value is None else expand(word, around, assigned, depth + 1)
    if value is None or (not value and how[:1] == ":"):
        if how[-1:] not in ("-", "="):
            return _unknown(f"${name}")
        value = expand(word, around, assigned, depth + 1)
        value += "" if _UNKNOWN.search(value) else _rests(f"unless ${name} is set")
        if how[-1:] == "=" and assigned is not None:
            assigned[name] = value
    return value


def _command(inner: str, around: Surroundings, depth: int) -> str:
    words = inner.split()
    text = " ".join(words)
    if _COUNTS_CORES.fullmatch(text):
        return _cores(around)
    if text.startswith("expr "):
        return _arithmetic(expand(text[5:], around, None, depth + 1).replace("\\", ""), around)
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    # a password may stand in the rest
    paths = [word for word in words[1:] if _PATH.fullmatch(word)]
    more = ["..."] if len(paths) < len(words) - 1 else []
    return _unknown(f"$({' '.join([*map(_begins, words[:1]), *paths, *more])})")


_PATH = re.compile(r"/[\w./-]{1,60}")


def _begins(inner: str) -> str:
    """Enough to find it by."""
    name = re.match(r"[\w./-]{0,60}", inner)
    return inner if name is None or name[0] == inner else f"{name[0]}..."


def _cores(around: Surroundings) -> str:
    return f"{around.cores}" + _rests(f"on {around.cores} core{'s' * (around.cores != 1)}")


_DONE: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def _arithmetic(marked: str, around: Surroundings) -> str:
    """Evaluate arithmetic of whole numbers as a shell does; marks stay on the result."""
    marked = _NAME_ALONE.sub(lambda name: _value(name[0], around), marked)
    rests = "".join(_rests(m) for m in dict.fromkeys(_RESTS.findall(marked)))
    unknown = _UNKNOWN.findall(marked)
    if unknown:
        return "".join(_unknown(m) for m in dict.fromkeys(unknown))
    plain = _RESTS.sub("", marked).strip()
    try:
        return f"{_computed(ast.parse(plain, mode='eval').body)}{rests}"
    except (ValueError, SyntaxError, ZeroDivisionError, RecursionError, MemoryError):
        return _unknown(f"$(({plain if _SUM.fullmatch(plain) else '...'}))")


_SUM = re.compile(r"[\d\s+*/%()-]{0,60}")


def _computed(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) < 1 << 40:
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _DONE:
        return _DONE[type(node.op)](_computed(node.left), _computed(node.right))
    raise ValueError("not arithmetic of whole numbers")


def _mark(text: str) -> str:
    return re.sub(r"[\s'\"\\;&|#]+", _BLANK, MARKS.sub("", text))


def _unknown(what: str) -> str:
    return f"\ue000{_mark(what)}\ue001"


def _rests(on: str) -> str:
    return f"\ue002{_mark(on)}\ue003"
