"""Fuzz the HTTP parser against h11 and httptools, from a grammar.

    python bench/fuzz/differential.py --seconds 300 --seed 1

Each execution makes a stream of valid requests, which must be parsed as they were meant; mutates
it; parses that whole and in random pieces, which must give the same; and compares the result with
the other parsers'. Ends with 1 and the shortest example of each kind if there are findings.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

import grammar
import judge
import parsers


class Findings:
    """Counts by kind, and the shortest example of each unexplained one."""

    def __init__(self) -> None:
        self.meant: Counter[str] = Counter()
        self.shortest: dict[str, tuple[bytes, str]] = {}
        self.unexplained = 0

    def add(self, kind: str, data: bytes, detail: str) -> None:
        self.unexplained += 1
        if kind not in self.shortest or len(data) < len(self.shortest[kind][0]):
            self.shortest[kind] = data, detail


def examine(data: bytes, cut: list[bytes], findings: Findings) -> None:
    """Compare one input's results."""
    ours, again = parsers.ours([data]), parsers.ours(cut)
    if (ours.requests, ours.end) != (again.requests, again.end):
        findings.add("pieces", data, f"{ours} in one, {again} as {cut}")
    for name, parse in parsers.ORACLES.items():
        theirs = parse(data)
        meant, kind = judge.disagreement(ours, theirs, name)
        if not meant:
            findings.add(f"{name}: {kind}", data, f"ours {ours}, theirs {theirs}")
        elif kind:
            findings.meant[f"{name}: {kind}"] += 1


def run(seconds: float, executions: int, seed: int) -> tuple[int, Findings]:
    dice, findings = random.Random(seed), Findings()
    end, count = time.monotonic() + seconds, 0
    while count < executions if executions else time.monotonic() < end:
        data, said = grammar.stream(dice)
        result = parsers.ours([data])
        if (result.requests, result.end) != (said, parsers.OPEN):
            findings.add("a valid request", data, f"{result} for {said}")
        examine(data, grammar.pieces(dice, data), findings)
        data = grammar.mutated(dice, data)
        examine(data, grammar.pieces(dice, data), findings)
        count += 1
    return count, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--executions", type=int, default=0, help="instead of a time")
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if args.seed is None else args.seed
    began, cpu = time.monotonic(), time.process_time()
    count, findings = run(args.seconds, args.executions, seed)
    print(
        f"seed {seed}: {count} executions, each a valid stream and a mutated one,"
        f" in {time.monotonic() - began:.0f} s ({time.process_time() - cpu:.0f} s of CPU)"
    )
    for kind, number in findings.meant.most_common():
        print(f"{number:9}  {kind}")
    print(f"{findings.unexplained:9}  unexplained")
    for kind, (data, detail) in findings.shortest.items():
        print(f"\n{kind}\n  {data!r}\n  {detail}")
    return 1 if findings.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
