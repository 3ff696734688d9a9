"""Shell text as deployment files hold it: expansion and words.

Variables are replaced where the files give them a value, arithmetic is done, and of all commands
only those that count cores are known. What is left to run time stays in a word as a
mark, so that a setting can say who decides it.
"""

from __future__ import annotations

import ast
import fnmatch
import operator
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

# Marks inside a text, of private code points: what is not known, what a value rests on. The last
# is compose's own. No text of a file keeps such a character.
_UNKNOWN = re.compile("\ue000([^\ue000-\ue003]*)\ue001")
_RESTS = re.compile("\ue002([^\ue000-\ue003]*)\ue003")
MARKS = re.compile("[\ue000-\ue005]")
_DROPPED = "\ue005"  # a "$@" of no words
_BLANK = "\u00a0"  # a space within a mark, that splits no word
_COUNTS_CORES = re.compile(
    r"(?:/usr/bin/)?nproc(?: --all)?|getconf _NPROCESSORS_ONLN|grep -c \^?processor /proc/cpuinfo"
)
_NAME = re.compile(r"[A-Za-z_]\w*")
_NAME_ALONE = re.compile(r"(?<![\w$\ue000\u00a0])[A-Za-z_]\w*(?![\w\u00a0\ue003])")
_BRACED = re.compile(r"(!?[A-Za-z_]\w*(?:\[[@*]\])?|[@*#?]|\d+)(?:(:?[-=?+])(.*))?", re.DOTALL)
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_REDIRECTED = re.compile(r"[\d&]*[<>]")
# Files may be hostile: no text, value or nesting is followed further than this.
LONGEST, LONGEST_VALUE, _DEEPEST = 1 << 14, 1 << 12, 12


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
    """The values that files and machine give. ``arguments``: words of ``$@``, None outside scripts;
    ``open``: more of them may be given at run time. An array's words stand under ``name[@]``."""

    variables: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    arguments: tuple[str, ...] | None = None
    open: bool = False


def split(marked: str) -> list[str]:
    """The words of an expanded text. Raises ValueError where quotes do not end."""
    return [word for word in shlex.split(marked) if word != _DROPPED]


def array_of(name: str, variables: Mapping[str, str]) -> list[str]:
    return shlex.split(variables.get(f"{name}[@]", ""))


def redirects(text: str, i: int) -> bool:
    """Return whether the ``&`` or ``|`` at ``i`` belongs to ``2>&1``, ``&>`` or ``>|``."""
    return text[i] in "&|" and (text[i - 1 : i] in ("<", ">") or text[i : i + 2] == "&>")


def without_redirection(words: Sequence[str]) -> list[str]:
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
        return mark_unknown(text)
    made: list[str] = []
    length = 0  # a variable of variables may double at every line
    quoted = double = False
    i = 0
    while i < len(text) and length < LONGEST:
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
    return "".join(made)[:LONGEST]


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
        quoted = text[i - 1 : i] == '"'
        return _braced(text[i + 2 : end], around, assigned, depth, quoted), end + 1
    if text[i + 1 : i + 2] in ("@", "*") and around.arguments is not None:
        return _listed(around.arguments, text[i - 1 : i] == '"'), i + 2
    if text[i + 1 : i + 2] == "#" and around.arguments is not None:
        return _counted(around), i + 2
    name = _NAME.match(text, i + 1)
    if name is None:
        digit = text[i + 1 : i + 2]
        return (_positional(int(digit), around), i + 2) if digit.isdecimal() else ("$", i + 1)
    return _value(name[0], around), name.end()


def _closing(text: str, start: int, opening: str, closing: str) -> int:
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == opening) - (text[i] == closing)
        if depth == 0:
            return i
    return len(text)


def closing_quote_aware(text: str, start: int) -> int:
    """Find where the bracket at ``start`` closes, quotes left out; else the text's end."""
    opening = text[start]
    closing = {"(": ")", "{": "}"}[opening]
    depth, quote, i = 0, "", start
    while i < len(text):
        c = text[i]
        if c == "\\" and quote != "'":
            i += 1
        elif quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in (opening, closing):
            depth += 1 if c == opening else -1
            if depth == 0:
                return i
        i += 1
    return len(text)


def _listed(words: Sequence[str], quoted: bool) -> str:
    """``"$@"`` in its quotes is as many words as there are."""
    value = shlex.join(words)
    if not quoted:
        return value
    return f'"{value}"' if words else _DROPPED


def _positional(number: int, around: Surroundings) -> str:
    given = around.arguments
    if given is None or number == 0 or (number > len(given) and around.open):
        return mark_unknown(f"${number}")
    return _quoted(given[number - 1]) if number <= len(given) else ""


def _counted(around: Surroundings) -> str:
    return mark_unknown("$#") if around.open else str(len(around.arguments or ()))


def _quoted(value: str) -> str:
    return re.sub(r"([\\'\"`])", r"\\\1", value)  # its quotes are its own


def _value(name: str, around: Surroundings) -> str:
    value = around.variables.get(name)
    if value is None:
        return mark_unknown(f"${name}")
    return _quoted(value)


def _braced(
    inner: str,
    around: Surroundings,
    assigned: dict[str, str] | None,
    depth: int,
    quoted: bool = False,
) -> str:
    found = _BRACED.fullmatch(inner)
    if (cut := _CUT.fullmatch(inner)) is not None:
        return _trimmed(cut, around, depth)
    if found is None:
        begins = _NAME.match(inner)
        return mark_unknown(f"${{{begins[0] if begins else ''}...}}")
    name, how, word = found[1], found[2] or "", found[3] or ""
    if name in "@*" and around.arguments is not None:
        return _listed(around.arguments, quoted)
    if name.endswith(("[@]", "[*]")):
        array = around.variables.get(f"{name[:-3]}[@]")
        if array is None:
            return mark_unknown(f"${name}") if name[:-3] not in around.variables else ""
        return _listed(shlex.split(array), quoted)
    value = around.variables.get(name)
    if name.isdecimal() and around.arguments is not None:
        number = int(name)
        known = number <= len(around.arguments) or not around.open
        value = (around.arguments[number - 1 : number] or ("",))[0] if known else None
    elif name == "#" and around.arguments is not None:
        value = _counted(around)
    if how[-1:] == "+":
        return "" if value is None else expand(word, around, assigned, depth + 1)
    if value is None or (not value and how[:1] == ":"):
        if how[-1:] not in ("-", "="):
            return mark_unknown(f"${name}")
        value = expand(word, around, assigned, depth + 1)
        value += "" if _UNKNOWN.search(value) else mark_rests(f"unless ${name} is set")
        if how[-1:] == "=" and assigned is not None:
            assigned[name] = value
    return value


_CUT = re.compile(r"([A-Za-z_]\w*|\d+)(##?|%%?)(.+)", re.DOTALL)


def _trimmed(cut: re.Match[str], around: Surroundings, depth: int) -> str:
    """``${1#-}``, ``${NAME%.py}``: without what matches at its beginning or end."""
    value = Word.from_marked(_braced(cut[1], around, None, depth + 1))
    pattern = Word.from_marked(expand(cut[3], around, None, depth + 1)).text.strip("'\"")
    if value.unknown:
        return "".join(mark_unknown(each) for each in value.unknown)
    text = value.text
    cuts = range(len(text) + 1) if len(cut[2]) == 1 else range(len(text), -1, -1)
    for count in list(cuts)[:LONGEST_VALUE]:
        front = cut[2][0] == "#"
        part = text[:count] if front else text[len(text) - count :]
        if fnmatch.fnmatchcase(part, pattern):
            text = text[count:] if front else text[: len(text) - count]
            break
    return text + "".join(mark_rests(each) for each in value.rests)


def _command(inner: str, around: Surroundings, depth: int) -> str:
    words = inner.split()
    text = " ".join(words)
    if _COUNTS_CORES.fullmatch(text):
        return _cores(around)
    if text.startswith("expr "):
        return _arithmetic(expand(text[5:], around, None, depth + 1).replace("\\", ""), around)
    if (counting := _COUNTED.fullmatch(inner.strip())) is not None:
        return _arithmetic(_CORES_OF_PYTHON.sub("$(nproc)", counting[2]), around, depth)
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    # a password may stand in the rest
    paths = [word for word in words[1:] if _PATH.fullmatch(word)]
    more = ["..."] if len(paths) < len(words) - 1 else []
    return mark_unknown(f"$({' '.join([*map(_begins, words[:1]), *paths, *more])})")


# python -c "import os; print(os.cpu_count() * 2 + 1)"
_COUNTED = re.compile(
    r"python[\d.]*\s+-c\s+([\"'])(?:(?:import|from)[\w ,.]+;\s*)+print\((.{1,200})\);?\s*\1"
)
_CORES_OF_PYTHON = re.compile(
    r"(?:\w+\.)?cpu_count\(\)|len\((?:\w+\.)?sched_getaffinity\(0\)\)|\w*\.?process_cpu_count\(\)"
)
_PATH = re.compile(r"/[\w./-]{1,60}")


def _begins(inner: str) -> str:
    """Enough to find it by."""
    name = re.match(r"[\w./-]{0,60}", inner)
    return inner if name is None or name[0] == inner else f"{name[0]}..."


def _cores(around: Surroundings) -> str:
    return f"{around.cores}" + mark_rests(f"on {around.cores} core{'s' * (around.cores != 1)}")


_DONE: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


_COMPARED: Mapping[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _arithmetic(marked: str, around: Surroundings, depth: int = 0) -> str:
    """Compute with whole numbers, as a shell does; marks stay on the result."""
    if "$(nproc)" in marked:
        marked = expand(marked, around, None, depth + 1)
    marked = _FUNCTIONS.sub("\\1\ue003", marked)
    marked = _NAME_ALONE.sub(lambda name: _value(name[0], around), marked)
    rests = "".join(mark_rests(m) for m in dict.fromkeys(_RESTS.findall(marked)))
    unknown = _UNKNOWN.findall(marked)
    if unknown:
        return "".join(mark_unknown(m) for m in dict.fromkeys(unknown))
    plain = _RESTS.sub("", marked).strip().replace("\ue003", "")
    try:
        return f"{_computed(_parsed(plain))}{rests}"
    except (ValueError, SyntaxError, ZeroDivisionError, RecursionError, MemoryError):
        return mark_unknown(f"$(({plain if _SUM.fullmatch(plain) else '...'}))")


_SUM = re.compile(r"[\d\s+*/%()-]{0,60}")
_FUNCTIONS = re.compile(r"\b(min|max|int)(?=\()")
_TERNARY = re.compile(r"([^?:]+)\?([^?:]+):(.+)", re.DOTALL)


def _parsed(text: str) -> ast.expr:
    """The shell's ``a ? b : c``, and its ``&&``, as Python writes them."""
    if (found := _TERNARY.fullmatch(text)) is not None:
        return ast.IfExp(_parsed(found[1].strip()), _parsed(found[2].strip()),
                         _parsed(found[3].strip()))  # fmt: skip
    return ast.parse(text, mode="eval").body


def _computed(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) < 1 << 40:
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _DONE:
        return _DONE[type(node.op)](_computed(node.left), _computed(node.right))
    if isinstance(node, ast.IfExp):
        return _computed(node.body if _computed(node.test) else node.orelse)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARED:
        left, right = _computed(node.left), _computed(node.comparators[0])
        return int(_COMPARED[type(node.ops[0])](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
        values = [_computed(argument) for argument in node.args]
        if node.func.id in ("min", "max", "int") and not node.keywords:
            return {"min": min, "max": max, "int": max}[node.func.id](values)
    raise ValueError("not arithmetic of whole numbers")


def _mark(text: str) -> str:
    return re.sub(r"[\s'\"\\;&|#]+", _BLANK, MARKS.sub("", text))


def mark_unknown(what: str) -> str:
    return f"\ue000{_mark(what)}\ue001"


def mark_rests(on: str) -> str:
    return f"\ue002{_mark(on)}\ue003"
