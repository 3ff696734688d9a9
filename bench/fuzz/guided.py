"""Fuzz the HTTP parser guided by its coverage, with atheris, against the same oracles.

    pip install atheris h11 httptools
    python bench/fuzz/guided.py CORPUS_DIRECTORY -max_total_time=300

The arguments are libFuzzer's. An empty corpus is filled with the strictness cases and some valid
streams. A finding ends the run with the input and the parsers' results.
"""

from __future__ import annotations

import random
import sys
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pretune.server"]):
    import pretune.server.http11.bodies
    import pretune.server.http11.fields
    import pretune.server.http11.http1  # noqa: F401

import differential
import grammar

DICTIONARY = "\n".join(
    '"' + "".join(f"\\x{byte:02x}" for byte in piece) + '"' for piece in grammar.PIECES
)


def one_input(data: bytes) -> None:
    findings = differential.Findings()
    cut = grammar.pieces(random.Random(zlib.crc32(data)), data)
    differential.examine(data, cut, findings)
    for kind, (example, detail) in findings.shortest.items():
        raise AssertionError(f"{kind}\n{example!r}\n{detail}")


def fill(corpus: Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    if any(corpus.iterdir()):
        return
    cases = Path(__file__).parents[2] / "tests/server/http11"
    sys.path.insert(0, str(cases))
    import cases_gunicorn
    import cases_llhttp
    import cases_parsers

    dice = random.Random(1)
    seeds = [grammar.stream(dice)[0] for _ in range(100)]
    for module in (cases_gunicorn, cases_llhttp, cases_parsers):
        seeds += [case.data for case in module.CASES if len(case.data) < 2000]
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments and not arguments[0].startswith("-"):
        corpus = Path(arguments[0])
        fill(corpus)
        words = corpus.parent / f"{corpus.name}.words"
        words.write_text(DICTIONARY)
        arguments = [f"-dict={words}", f"-artifact_prefix={corpus.parent}/", *arguments]
    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
