"""Follows a shell script along every way that it may take. Pure.

Where a condition is known from the files, one way is followed; where the run decides, both are, and
each knows by what (``$1``). Ways that come to the same are one again. Programs succeed, but those
that people ask with (``grep``, ``command -v``) are not known to.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from pretune.advisor.deployed import syntax
from pretune.advisor.deployed.shell import (
    ASSIGNMENT,
    LONGEST,
    LONGEST_VALUE,
    Surroundings,
    Word,
    array_of,
    expand,
    split,
    without_redirection,
)

MOST_WAYS = 32  # at a time
MOST_STEPS = 1000  # simple commands, over all ways
MOST_ROUNDS = 16  # of a loop
_DEEPEST = 12  # functions in functions
# what answers a question with its exit status
_ASKING_WORDS = """
    grep egrep command which type hash curl wget nc nslookup getent pg_isready diff cmp
    mountpoint ping kill pgrep psql
"""
_ASKING = frozenset(_ASKING_WORDS.split())


@dataclass(frozen=True)
class Run:
    """A simple command that is reached. ``background``: the script goes on beside it."""

    words: tuple[Word, ...]
    variables: Mapping[str, str] = field(compare=False)
    background: bool = False
    environ: int = field(init=False, default=0)  # stands for the variables where runs are compared

    def __post_init__(self) -> None:
        object.__setattr__(self, "environ", hash(frozenset(self.variables.items())))


@dataclass(frozen=True)
class Way:
    """``by``: what decides at run time that it is taken. ``rests``: on what else it rests, such as
    ``unless $ROLE is set``."""

    runs: tuple[Run, ...]
    by: tuple[str, ...] = ()
    rests: tuple[str, ...] = ()


@dataclass(frozen=True)
class _State:
    variables: Mapping[str, str]
    arguments: tuple[str, ...] | None
    open: bool = False
    functions: Mapping[str, syntax.Node] = field(default_factory=dict)
    # question -> the answer that this way takes, and what gives it
    decided: Mapping[str, tuple[object, tuple[str, ...]]] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()
    rests: tuple[str, ...] = ()
    status: bool = True
    ended: str = ""  # "return", "exit", or "served": nothing behind it is reached

    @property
    def by(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each for _, by in self.decided.values() for each in by))

    def decide(self, question: str, answer: object, by: tuple[str, ...]) -> _State:
        return replace(self, decided={**self.decided, question: (answer, by)})

    def same(self) -> object:
        """Equal for states that go on alike."""
        return (
            tuple(sorted(self.variables.items())), self.arguments, self.open, self.runs,
            self.status, self.ended, tuple(self.functions),
        )  # fmt: skip


Sourced = Callable[[str], "str | None"]
Blocks = Callable[[tuple[Word, ...]], bool]


def follow(
    text: str,
    around: Surroundings,
    sourced: Sourced = lambda name: None,
    blocks: Blocks = lambda words: False,
) -> tuple[Way, ...]:
    """The ways through ``text``. ``sourced``: what a file holds that ``.`` reads; ``blocks``:
    whether a command serves, so that what stands behind it is not reached.

    Raises ValueError where quotes do not end, or where there are too many ways.
    """
    walk = _Walk(around, sourced, blocks)
    state = _State(dict(around.variables), around.arguments, around.open)
    ends = walk.sequence(syntax.parse(text[:LONGEST]), [state], 0)
    return tuple(Way(state.runs, state.by, state.rests) for state in ends)


class _Walk:
    def __init__(self, around: Surroundings, sourced: Sourced, blocks: Blocks) -> None:
        self._cores, self._sourced, self._blocks = around.cores, sourced, blocks
        self._steps = 0

    def _around(self, state: _State, variables: Mapping[str, str] | None = None) -> Surroundings:
        held = state.variables if variables is None else variables
        return Surroundings(held, self._cores, state.arguments, state.open)

    def sequence(self, node: syntax.Sequence, states: list[_State], depth: int) -> list[_State]:
        before = ";"
        for part, operator in node.parts:
            goes = [s for s in states if not s.ended and _goes(before, s.status)]
            stays = [s for s in states if s.ended or not _goes(before, s.status)]
            made: list[_State] = []
            for state in goes:
                made += self._node(part, state, depth, background=operator == "&")
            states = _merged([*stays, *made])
            before = operator
        return states

    def _node(
        self, node: syntax.Node, state: _State, depth: int, background: bool = False
    ) -> list[_State]:
        if depth > _DEEPEST * 4:
            raise ValueError("it is nested too deeply")
        if isinstance(node, syntax.Simple):
            return self._simple(node.text, state, depth, background)
        if isinstance(node, syntax.Sequence):
            return self._beside(self.sequence(node, [state], depth + 1), state, background)
        if isinstance(node, syntax.Subshell):
            return [
                replace(s, variables=state.variables, ended=_only(s.ended, "served"))
                for s in self._beside(
                    self.sequence(node.body, [state], depth + 1), state, background
                )
            ]
        if isinstance(node, syntax.Not):
            return [
                replace(s, status=s.status if s.ended else not s.status)
                for s in self._node(node.node, state, depth + 1)
            ]
        if isinstance(node, syntax.Array):
            words = [*split(expand(node.text, self._around(state)))]
            if node.appends:
                words = [*array_of(node.name, state.variables), *words]
            held = {f"{node.name}[@]": shlex.join(words)[:LONGEST_VALUE]}
            return [replace(state, variables={**state.variables, **held}, status=True)]
        if isinstance(node, syntax.Function):
            return [replace(state, functions={**state.functions, node.name: node.body})]
        if isinstance(node, syntax.If):
            return self._if(node, state, depth + 1)
        if isinstance(node, syntax.Case):
            return self._case(node, state, depth + 1)
        if isinstance(node, syntax.While):
            return self._while(node, state, depth + 1)
        return self._for(node, state, depth + 1)

    def _beside(self, states: list[_State], before: _State, background: bool) -> list[_State]:
        if not background:
            return states
        count = len(before.runs)
        return [
            replace(
                s,
                runs=(*before.runs, *(replace(r, background=True) for r in s.runs[count:])),
                ended="",
                status=True,
                variables=before.variables,
            )
            for s in states
        ]

    def _if(self, node: syntax.If, state: _State, depth: int) -> list[_State]:
        states, ends = [state], []
        for condition, body in node.branches:
            asked = self.sequence(condition, states, depth)
            ends += [s for s in asked if s.ended]
            taken = [s for s in asked if s.status and not s.ended]
            ends += self.sequence(body, taken, depth)
            states = [s for s in asked if not s.status and not s.ended]
        ends += self.sequence(node.otherwise, [replace(s, status=True) for s in states], depth)
        return _merged(ends)

    def _case(self, node: syntax.Case, state: _State, depth: int) -> list[_State]:
        word = Word.from_marked(_one(expand(node.word, self._around(state))))
        if not word.unknown:
            state = _resting(state, word.rests)
            for patterns, body in node.branches:
                if any(fnmatch.fnmatchcase(word.text, self._pattern(p, state)) for p in patterns):
                    return self.sequence(body, [state], depth)
            return [state]
        ends: list[_State] = []
        complete = False
        question = f"case {word.text}"
        for i, (patterns, body) in enumerate(node.branches):
            taken = state.decide(question, i, word.unknown)
            literal = self._pattern(patterns[0], state) if len(patterns) == 1 else "*"
            if not re.search(r"[*?\[]", literal):
                taken = _assumed(taken, word, literal)
            complete = complete or "*" in patterns
            ends += self.sequence(body, [taken], depth)
        if not complete:
            ends.append(state.decide(question, "", word.unknown))
        return _merged(ends)

    def _pattern(self, pattern: str, state: _State) -> str:
        return Word.from_marked(_one(expand(pattern, self._around(state)))).text

    def _while(self, node: syntax.While, state: _State, depth: int) -> list[_State]:
        states, ends = [state], []
        for _ in range(MOST_ROUNDS):
            asked = self.sequence(node.condition, states, depth)
            ends += [s for s in asked if s.ended]
            asked = [s for s in asked if not s.ended]
            # what people wait for comes: a loop that may go on is left
            goes = [s for s in asked if s.status != node.until and s.decided == state.decided]
            left = [s for s in asked if s.status == node.until or s.decided != state.decided]
            ends += [replace(s, status=True, decided=state.decided) for s in left]
            states = self.sequence(node.body, goes, depth)
            ends += [s for s in states if s.ended]
            states = [s for s in states if not s.ended]
            if not states:
                break
        return _merged([*ends, *states])

    def _for(self, node: syntax.For, state: _State, depth: int) -> list[_State]:
        words = [Word.from_marked(w) for w in split(expand(node.words, self._around(state)))]
        states = [state]
        for word in words[:MOST_ROUNDS]:
            ended = [s for s in states if s.ended]
            goes = [
                replace(s, variables={**s.variables, node.name: word.text})
                for s in states
                if not s.ended
            ]
            states = [*ended, *self.sequence(node.body, goes, depth)]
        return _merged(states)

    def _simple(self, text: str, state: _State, depth: int, background: bool) -> list[_State]:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise ValueError("it has too many branches")
        if text.startswith("(("):
            value = Word.from_marked(expand(f"${text}", self._around(state)))
            if not value.unknown and value.text.lstrip("-").isdecimal():
                return [replace(_resting(state, value.rests), status=int(value.text) != 0)]
            return _forked(state, value.unknown or (text[:30],), text)
        assigned: dict[str, str] = {}  # ${D:=9} is seen by the rest of its own command
        seen = {**state.variables}
        around = self._around(state, ChainMap(assigned, seen))
        bare = text.removeprefix("[[").removesuffix("]]")
        marked = split(expand(bare, around, assigned))
        if text.startswith("[["):
            marked = ["[[", *marked, "]]"]
        seen |= assigned
        state = replace(state, variables=seen) if assigned else state
        words = tuple(without_redirection(marked))
        if not words:
            return [replace(state, status=True)]
        first = Word.from_marked(words[0]).text
        declares = first in ("export", "local", "declare", "readonly", "typeset")
        names = [w for w in words[1:] if not w.startswith("-")] if declares else words
        pairs = [ASSIGNMENT.fullmatch(word) for word in names]
        if declares or all(pairs):
            held = {pair[1]: pair[2][:LONGEST_VALUE] for pair in pairs if pair}
            return [replace(state, variables={**seen, **held}, status=True)]
        if first in ("[", "[[", "test"):
            return self._test([Word.from_marked(w) for w in words], state)
        if first in ("exit", "return"):
            return [replace(state, ended=first)]
        if first == "let":
            sums = [p for w in words[1:] if (p := ASSIGNMENT.fullmatch(w)) is not None]
            held = {p[1]: expand(f"$(({p[2]}))", around)[:LONGEST_VALUE] for p in sums}
            return [replace(state, variables={**seen, **held}, status=True)]
        if first in ("true", ":"):
            return [replace(state, status=True)]
        if first == "false":
            return [replace(state, status=False)]
        if first == "shift" and state.arguments is not None:
            count = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 1
            return [replace(state, arguments=state.arguments[count:], status=True)]
        if first == "set":
            if "--" in words:
                rest = words[words.index("--") + 1 :]
                return [replace(state, arguments=tuple(rest), open=False, status=True)]
            return [replace(state, status=True)]
        if first in (".", "source") and len(words) > 1:
            return self._source(Word.from_marked(words[1]).text, state, depth)
        if first in state.functions and depth < _DEEPEST:
            return self._call(first, words[1:], state, depth, background)
        if first == "eval":
            return self._simple(" ".join(words[1:]), state, depth, background)
        made = tuple(Word.from_marked(word) for word in words)
        run = Run(made, seen, background)
        asks = first.rpartition("/")[2] in _ASKING
        state = replace(state, status=True) if asks else replace(
            state, runs=(*state.runs, run), status=True
        )  # fmt: skip
        if asks and first != "wget":
            return _forked(state, (first,), " ".join(w.text for w in made))
        ends = not background and ((first == "exec" and len(words) > 1) or self._blocks(made))
        return [replace(state, ended="served" if ends else "")]

    def _source(self, name: str, state: _State, depth: int) -> list[_State]:
        text = self._sourced(name) if depth < _DEEPEST else None
        if text is None:
            return [replace(state, status=True)]
        ends = self.sequence(syntax.parse(text[:LONGEST]), [state], depth + 4)
        return [replace(s, ended=_only(s.ended, "served", "exit")) for s in ends]

    def _call(
        self, name: str, words: Iterable[str], state: _State, depth: int, background: bool
    ) -> list[_State]:
        inside = replace(state, arguments=tuple(words), open=False)
        ends = self._beside(
            self._node(state.functions[name], inside, depth + 4), inside, background
        )
        return [
            replace(
                s,
                arguments=state.arguments,
                open=state.open,
                ended=_only(s.ended, "served", "exit"),
            )
            for s in ends
        ]

    def _test(self, words: list[Word], state: _State) -> list[_State]:
        inner = [w for w in words[1:] if w.text not in ("]", "]]")]
        for operator, joins in (("-o", any), ("||", any), ("-a", all), ("&&", all)):
            texts = [w.text for w in inner]
            if operator in texts[1:]:
                at = texts.index(operator, 1)
                parts = (inner[:at], inner[at + 1 :])
                answers = [_answer(part) for part in parts]
                known = [a for a in answers if a is not None]
                if (joins is any and True in known) or (joins is all and False in known):
                    return [replace(state, status=joins is any)]
                if len(known) == 2:
                    return [replace(state, status=joins(known))]
                return _forked(state, _unknown_of(inner), " ".join(texts))
        answer = _answer(inner)
        rests = tuple(r for w in inner for r in w.rests)
        if answer is not None:
            unset = [f"unless {u} is set" for w in inner for u in w.unknown]
            return [replace(_resting(state, (*rests, *unset)), status=answer)]
        split_states = _forked(state, _unknown_of(inner), " ".join(w.text for w in inner))
        if len(inner) == 3 and inner[1].text in ("=", "==") and len(split_states) == 2:
            return [
                _assumed(s, inner[0], inner[2].text) if s.status and not inner[2].unknown else s
                for s in split_states
            ]
        return split_states


def _goes(operator: str, status: bool) -> bool:
    if operator == "&&":
        return status
    if operator == "||":
        return not status
    return True


def _merged(states: list[_State]) -> list[_State]:
    """Those that go on alike are one, and need no reason."""
    found: dict[object, _State] = {}
    for state in states:
        key = state.same()
        other = found.get(key)
        if other is None:
            found[key] = state
            continue
        decided = {k: v for k, v in other.decided.items() if state.decided.get(k) == v}
        rests = tuple(dict.fromkeys((*other.rests, *state.rests)))
        found[key] = replace(other, decided=decided, rests=rests)
    if len(found) > MOST_WAYS:
        raise ValueError("it has too many branches")
    return list(found.values())


def _only(ended: str, *kinds: str) -> str:
    return ended if ended in kinds else ""


def _joined(by: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*by, *more)))


def _resting(state: _State, rests: Iterable[str]) -> _State:
    return replace(state, rests=_joined(state.rests, rests))


def _forked(state: _State, by: tuple[str, ...], question: str) -> list[_State]:
    """Both answers, or the one that was given to the same question before."""
    if question in state.decided:
        return [replace(state, status=bool(state.decided[question][0]))]
    return [replace(state.decide(question, answer, by), status=answer) for answer in (True, False)]


_BARE = re.compile(r"\$([A-Za-z_]\w*)")


def _assumed(state: _State, word: Word, value: str) -> _State:
    """On a way that is taken only where ``word`` is ``value``."""
    name = _BARE.fullmatch(word.text)
    if name is None or word.unknown != (word.text,):
        return state
    return replace(state, variables={**state.variables, name[1]: value})


def _unknown_of(words: list[Word]) -> tuple[str, ...]:
    unknown = tuple(u for w in words for u in w.unknown)
    return unknown or (" ".join(w.text for w in words)[:60],)


def _one(marked: str) -> str:
    """A word without its quotes."""
    words = split(marked)
    return " ".join(words)


_NUMBERS: Mapping[str, Callable[[int, int], bool]] = {
    "-eq": int.__eq__,
    "-ne": int.__ne__,
    "-gt": int.__gt__,
    "-ge": int.__ge__,
    "-lt": int.__lt__,
    "-le": int.__le__,
}


def _answer(words: list[Word]) -> bool | None:
    """Answer a test; None where only the run knows. A variable that no file sets is empty to
    ``-z`` and ``-n``, as it is to ``${NAME:-}``."""
    if words and words[0].text == "!":
        answer = _answer(words[1:])
        return None if answer is None else not answer
    texts = [w.text for w in words]
    unset = [bool(w.unknown) and bool(_BARE.fullmatch(w.text)) for w in words]
    if len(words) == 0:
        return False
    if len(words) == 1:
        return False if unset[0] else None if words[0].unknown else bool(texts[0])
    if len(words) == 2 and texts[0] in ("-z", "-n"):
        if words[1].unknown and not unset[1]:
            return None
        empty = unset[1] or not texts[1]
        return empty if texts[0] == "-z" else not empty
    if len(words) == 2 and texts[0] in ("-z", "-n", "-f", "-e", "-d", "-x", "-r", "-s", "-w"):
        return None
    if len(words) == 3 and not any(w.unknown for w in words):
        left, operator, right = texts
        if operator in ("=", "=="):
            return fnmatch.fnmatchcase(left, right)
        if operator == "!=":
            return not fnmatch.fnmatchcase(left, right)
        if operator in _NUMBERS:
            try:
                return _NUMBERS[operator](int(left), int(right))
            except ValueError:
                return None
    return None
