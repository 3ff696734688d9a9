"""The grammar of a shell script: its text to lists, branches, loops and functions.

Words stay as they are written, with their quotes: ``shell`` expands them, ``script`` follows the
branches. What is no shell becomes simple commands; the one error is a quote without an end.
Source: POSIX.1-2017, Shell Command Language, and bash's arrays and ``[[``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pretune.advisor.deployed.shell import closing_quote_aware, redirects

MOST_TOKENS = 6000  # of a script
DEEPEST = 40
_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)[\"']?")
_ARRAY = re.compile(r"[A-Za-z_]\w*\+?=")
_OPERATORS = (";;&", ";;", ";&", "&&", "||", "|&", ";", "&", "|", "\n", "(", ")")


@dataclass(frozen=True)
class Simple:
    """``text``: the words of a simple command, as they are written."""

    text: str


@dataclass(frozen=True)
class Array:
    """``name=(...)``, ``name+=(...)``."""

    name: str
    text: str
    appends: bool


@dataclass(frozen=True)
class Sequence:
    """``parts``: each with the operator behind it: ``;``, ``&``, ``&&``, ``||``, ``|``."""

    parts: tuple[tuple[Node, str], ...] = ()


@dataclass(frozen=True)
class Not:
    node: Node


@dataclass(frozen=True)
class If:
    branches: tuple[tuple[Sequence, Sequence], ...]
    otherwise: Sequence = field(default_factory=Sequence)


@dataclass(frozen=True)
class Case:
    word: str
    branches: tuple[tuple[tuple[str, ...], Sequence], ...]


@dataclass(frozen=True)
class While:
    condition: Sequence
    body: Sequence
    until: bool


@dataclass(frozen=True)
class For:
    name: str
    words: str
    body: Sequence


@dataclass(frozen=True)
class Function:
    name: str
    body: Node


@dataclass(frozen=True)
class Subshell:
    body: Sequence


Node = Simple | Array | Sequence | Not | If | Case | While | For | Function | Subshell


def parse(text: str) -> Sequence:
    return _Parser(_tokens(text)).sequence(frozenset(), 0)


def _tokens(text: str) -> list[str]:
    """Words and operators, without comments, heredocs and continued lines."""
    found: list[str] = []
    heredocs: list[str] = []
    i = 0
    while i < len(text) and len(found) < MOST_TOKENS:
        c = text[i]
        if c in " \t\r":
            i += 1
        elif text.startswith(("\\\n", "\\\r\n"), i):
            i += 2 + (text[i + 1] == "\r")
        elif c == "#":
            end = text.find("\n", i)
            i = end if end >= 0 else len(text)
        elif text.startswith("((", i) and (end := text.find("))", i)) > 0 and _is_first(found):
            found.append(text[i : end + 2])
            i = end + 2
        elif operator := next((o for o in _OPERATORS if text.startswith(o, i)), ""):
            if redirects(text, i):
                i = _word(text, i, found)
                continue
            found.append(operator)
            i += len(operator)
            if operator == "\n" and heredocs:
                i = _behind(text, i - 1, heredocs.pop(0))
        elif heredoc := _HEREDOC.match(text, i) if not text.startswith("<<<", i) else None:
            heredocs.append(heredoc[1])
            i = heredoc.end()
        elif text.startswith("[[ ", i) and _is_first(found):
            end = text.find("]]", i)
            end = len(text) if end < 0 else end + 2
            found.append(text[i:end])
            i = end
        else:
            i = _word(text, i, found)
    return found


_BEFORE_COMMANDS = frozenset(
    (*_OPERATORS, "if", "then", "elif", "else", "do", "while", "until", "!", "{")
)


def _is_first(found: list[str]) -> bool:
    """Return whether a command begins behind these tokens."""
    return not found or found[-1] in _BEFORE_COMMANDS


def _word(text: str, i: int, found: list[str]) -> int:
    """Take the word at ``i``; where it ends."""
    start = i
    double = quoted = False
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
            i = closing_quote_aware(text, i + 1)
        elif c == "`":
            end = text.find("`", i + 1)
            i = end if end > 0 else len(text)
        elif double:
            pass
        elif c == "(" and _ARRAY.fullmatch(text[start:i]):
            i = closing_quote_aware(text, i)
        elif c in " \t\r\n;()" or (c in "&|" and not redirects(text, i)):
            break
        i += 1
    found.append(text[start:i].replace("\\\r\n", "").replace("\\\n", " "))
    return max(i, start + 1)


def _behind(text: str, i: int, word: str) -> int:
    """Find where a heredoc ends that begins behind ``i``."""
    end = re.compile(rf"^\s*{re.escape(word)}\s*$", re.MULTILINE).search(text, i)
    return end.end() if end else len(text)


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._at = tokens, 0

    @property
    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next
        self._at += 1
        return token

    def _skip(self, *tokens: str) -> None:
        while self._next and self._next in tokens:
            self._at += 1

    def sequence(self, until: frozenset[str], depth: int) -> Sequence:
        """Up to a word of ``until``, which is left standing."""
        parts: list[tuple[Node, str]] = []
        while True:
            self._skip("\n", ";")
            if not self._next or self._next in until:
                return Sequence(tuple(parts))
            node = self._command(depth, until)
            operator = self._next if self._next in ("&&", "||", "|", "|&", "&", ";", "\n") else ";"
            if self._next == operator:
                self._at += 1
            if operator in ("&&", "||", "|", "|&"):
                self._skip("\n")
            parts.append((node, {"\n": ";", "|&": "|"}.get(operator, operator)))

    def _command(self, depth: int, until: frozenset[str]) -> Node:
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        word = self._next
        if word == "!":
            self._at += 1
            return Not(self._command(depth + 1, until))
        if word in _COMPOUND:
            self._at += 1
            return _COMPOUND[word](self, depth + 1)
        if word == "function" and self._at + 1 < len(self._tokens):
            self._at += 1
            name = self._take()
            self._skip("(", ")", "\n")
            return Function(name, self._command(depth + 1, until))
        after = self._tokens[self._at + 1 : self._at + 3]
        if after == ["(", ")"] and re.fullmatch(r"[\w.:-]+", word):
            self._at += 3
            self._skip("\n")
            return Function(word, self._command(depth + 1, until))
        array = re.fullmatch(r"([A-Za-z_]\w*)(\+?)=\((.*)\)", word, re.DOTALL)
        if array:
            self._at += 1
            return Array(array[1], array[3], bool(array[2]))
        return self._simple()

    def _simple(self) -> Simple:
        words = []
        while self._next and self._next not in _OPERATORS:
            words.append(self._take())
        if not words:  # an operator where a command should stand
            self._at += 1
        return Simple(" ".join(words))

    def _if(self, depth: int) -> Node:
        branches = []
        otherwise = Sequence()
        while True:
            condition = self.sequence(frozenset({"then", "fi"}), depth)
            self._skip("then")
            body = self.sequence(frozenset({"elif", "else", "fi"}), depth)
            branches.append((condition, body))
            word = self._take()
            if word == "else":
                otherwise = self.sequence(frozenset({"fi"}), depth)
                self._take()
            if word != "elif":
                return If(tuple(branches), otherwise)

    def _case(self, depth: int) -> Node:
        word = self._take()
        self._skip("\n", "in")
        branches: list[tuple[tuple[str, ...], Sequence]] = []
        end = frozenset({";;", ";;&", ";&", "esac"})
        while True:
            self._skip("\n", ";;", ";;&", ";&", "(")
            if not self._next or self._next == "esac":
                self._at += 1
                return Case(word, tuple(branches))
            patterns = []
            while self._next and self._next != ")":
                if self._next not in ("|", "\n"):
                    patterns.append(self._next)
                self._at += 1
            self._at += 1
            branches.append((tuple(patterns), self.sequence(end, depth)))

    def _while(self, depth: int, until: bool = False) -> Node:
        condition = self.sequence(frozenset({"do"}), depth)
        return While(condition, self._body(depth), until)

    def _until(self, depth: int) -> Node:
        return self._while(depth, True)

    def _for(self, depth: int) -> Node:
        name = self._take()
        words = ['"$@"']
        self._skip("\n")
        if self._next == "in":
            self._at += 1
            words = []
            while self._next and self._next not in (";", "\n"):
                words.append(self._take())
        self._skip("\n", ";")
        return For(name, " ".join(words), self._body(depth))

    def _body(self, depth: int) -> Sequence:
        self._skip("do")
        body = self.sequence(frozenset({"done"}), depth)
        self._take()
        return body

    def _group(self, depth: int) -> Node:
        body = self.sequence(frozenset({"}"}), depth)
        self._take()
        return body

    def _subshell(self, depth: int) -> Node:
        body = self.sequence(frozenset({")"}), depth)
        self._take()
        return Subshell(body)


_COMPOUND = {
    "if": _Parser._if,
    "case": _Parser._case,
    "while": _Parser._while,
    "until": _Parser._until,
    "for": _Parser._for,
    "{": _Parser._group,
    "(": _Parser._subshell,
}
