"""A Python program that starts its server itself: ``uvicorn.run("app:app", workers=3)``. Pure.

The program is parsed, not run. Each call becomes the command line that says the same, so that the
servers' own grammars read it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pretune.advisor.deployed.shell import Surroundings, Word, expand

MOST_NODES = 20_000
_DEEPEST = 12
# what is called -> the server
_RUNS = {
    "uvicorn.run": "uvicorn",
    "waitress.serve": "waitress",
    "granian.Granian": "granian",
    "Granian": "granian",
}
_SPAWNS_WORDS = """
    subprocess.run subprocess.call subprocess.check_call subprocess.Popen os.execv os.execvp
    os.execvpe os.system run call Popen execvp
"""
_SPAWNS = frozenset(_SPAWNS_WORDS.split())


@dataclass(frozen=True)
class Call:
    """``words``: of the command line that says the same, ``server`` "" where it names its program.

    ``by``: the condition that the call stands under, "" for none.
    """

    server: str
    words: tuple[Word, ...]
    line: int
    by: str = ""


def read(text: str, module: str, around: Surroundings) -> tuple[Call, ...]:
    """The servers that ``text`` starts. Raises ValueError where it is no Python."""
    try:
        tree = ast.parse(text)
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise ValueError("it is too long")
        return tuple(_Program(tree, module, around).calls(tree.body, "", 0))
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"it is no Python: {type(error).__name__}") from None


class _Program:
    def __init__(self, tree: ast.Module, module: str, around: Surroundings) -> None:
        self._module, self._around = module, around
        self._names = _imported(tree)
        self._values: dict[str, ast.expr] = {}
        assigned: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                self._values[name] = node.value
                if name in assigned:  # which of them counts is not followed
                    self._values[name] = ast.Name("...")
                assigned.add(name)
        self._functions = {
            node.name: node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    def calls(self, body: list[ast.stmt], by: str, depth: int) -> Iterator[Call]:
        if depth > _DEEPEST:
            return
        for node in body:
            if isinstance(node, ast.If):
                if _is_main(node.test):
                    yield from self.calls(node.body, by, depth + 1)
                else:
                    shown = ast.unparse(node.test)[:60]
                    yield from self.calls(node.body, by or shown, depth + 1)
                    yield from self.calls(node.orelse, by or f"not {shown}", depth + 1)
            elif isinstance(node, ast.With | ast.Try | ast.For | ast.While):
                yield from self.calls(node.body, by, depth + 1)
            elif isinstance(node, ast.Expr | ast.Assign | ast.Return):
                for call in ast.walk(node):
                    if isinstance(call, ast.Call):
                        yield from self._call(call, by, depth)

    def _call(self, call: ast.Call, by: str, depth: int) -> Iterator[Call]:
        name = self._names.get(_dotted(call.func).partition(".")[0], "")
        dotted = _dotted(call.func)
        if name:
            dotted = ".".join([name, *dotted.split(".")[1:]])
        if dotted in _RUNS:
            yield Call(_RUNS[dotted], self._words(_RUNS[dotted], call), call.lineno, by)
        elif dotted in _SPAWNS:
            words = self._spawned(call)
            if words:
                yield Call("", words, call.lineno, by)
        elif dotted in self._functions:
            yield from self.calls(self._functions.pop(dotted).body, by, depth + 1)
        elif (options := self._options(call)) is not None:
            yield Call("gunicorn", self._of_options(call, options), call.lineno, by)

    def _words(self, server: str, call: ast.Call) -> tuple[Word, ...]:
        words = [self._app(call.args[0])] if call.args else []
        for keyword in call.keywords:
            if keyword.arg in ("app", "target"):
                words.insert(0, self._app(keyword.value))
            elif keyword.arg is None:
                words.append(Word("--workers"))
                words.append(Word("**", ("**",)))
            else:
                words += self._option(keyword.arg, keyword.value)
        return tuple(words)

    def _option(self, name: str, node: ast.expr) -> list[Word]:
        if isinstance(node, ast.Constant) and node.value in (True, False, None):
            return [Word(f"--{name.replace('_', '-')}")] if node.value else []
        return [Word(f"--{name.replace('_', '-')}"), self._value(node, 0)]

    def _app(self, node: ast.expr) -> Word:
        if isinstance(node, ast.Name):
            return Word(f"{self._names.get(node.id, '').rpartition('.')[0] or self._module}"
                        f":{node.id}")  # fmt: skip
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return Word(node.value)
        return Word("")

    def _spawned(self, call: ast.Call) -> tuple[Word, ...]:
        for argument in reversed(call.args):
            node = self._values.get(argument.id, argument) if isinstance(
                argument, ast.Name) else argument  # fmt: skip
            if isinstance(node, ast.List | ast.Tuple):
                return tuple(self._value(each, 0) for each in node.elts)
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and (" " in node.value)
            ):
                marked = expand(node.value, self._around)
                return tuple(Word.from_marked(word) for word in marked.split())
        return ()

    def _options(self, call: ast.Call) -> ast.Dict | None:
        """Those of gunicorn's BaseApplication, as its documentation runs it."""
        if not any(value.partition(".")[0] == "gunicorn" for value in self._names.values()):
            return None
        for argument in (*call.args, *(k.value for k in call.keywords)):
            node = self._values.get(argument.id) if isinstance(argument, ast.Name) else argument
            if isinstance(node, ast.Dict) and {"bind", "workers", "threads"} & {
                key.value for key in node.keys if isinstance(key, ast.Constant)
            }:
                return node
        return None

    def _of_options(self, call: ast.Call, options: ast.Dict) -> tuple[Word, ...]:
        words = [self._app(call.args[0])] if call.args else []
        for key, value in zip(options.keys, options.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                words += self._option(_FLAGS.get(key.value, key.value), value)
        return tuple(words)

    def _value(self, node: ast.expr, depth: int) -> Word:
        return Word.from_marked(expand(self._text(node, depth), self._around))

    def _text(self, node: ast.expr, depth: int) -> str:
        """In the shell's words: ``${W:-3}`` for ``os.environ.get("W", 3)``."""
        if depth > _DEEPEST:
            return "${...}"
        if isinstance(node, ast.Constant):
            return str(node.value).replace("$", "\\$")
        if isinstance(node, ast.Name) and node.id in self._values:
            return self._text(self._values[node.id], depth + 1)
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and len(node.values) == 2:
            left = self._text(node.values[0], depth + 1)
            if left.startswith("${") and left.endswith("}") and ":-" not in left:
                return f"{left[:-1]}:-{self._text(node.values[1], depth + 1)}}}"
            return left
        if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
            left, right = self._text(node.left, depth + 1), self._text(node.right, depth + 1)
            return f"$(({_bare(left)} {_SIGNS[type(node.op)]} {_bare(right)}))"
        if (
            isinstance(node, ast.Subscript)
            and _dotted(node.value).endswith("environ")
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
            and node.slice.value.isidentifier()
        ):
            return f"${{{node.slice.value}}}"
        if isinstance(node, ast.Call):
            return self._called(node, depth)
        return f"${{{ast.unparse(node)[:40]}}}"

    def _called(self, node: ast.Call, depth: int) -> str:
        name = _dotted(node.func)
        if name.endswith(("environ.get", "getenv")) and node.args:
            variable = self._text(node.args[0], depth + 1)
            if variable.isidentifier():
                if len(node.args) == 1:
                    return f"${{{variable}}}"
                return f"${{{variable}-{self._text(node.args[1], depth + 1)}}}"
        if name in ("int", "str", "float") and len(node.args) == 1:
            return self._text(node.args[0], depth + 1)
        if name.endswith("cpu_count") and not node.args:
            return "$(nproc)"
        if name in ("min", "max") and node.args:
            inner = ", ".join(_bare(self._text(each, depth + 1)) for each in node.args)
            return f"$(({name}({inner})))"
        return f"${{{name[:40]}()}}"


_SIGNS: Mapping[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "/", ast.Mod: "%", ast.Div: "/",
}  # fmt: skip
_FLAGS = {"preload_app": "preload", "config": "config"}


def _bare(text: str) -> str:
    """A sum within a sum."""
    return f"({text[3:-2]})" if text.startswith("$((") and text.endswith("))") else text


def _is_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and "__name__" in ast.unparse(test)


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _imported(tree: ast.Module) -> dict[str, str]:
    """Name -> the full name that it was imported by."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
    return found
