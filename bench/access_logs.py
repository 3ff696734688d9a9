"""CPU and memory of reading an access log, beside what any reader has to pay.

    python -m bench.access_logs [--megabytes 256]

A made log of nginx's combined format, of 40 routes with identifiers and queries, is read in turns
by splitting each line at its spaces, by one compiled expression for each line, and by
``read_log``, which counts as well. CPU seconds for a gigabyte, the least of three rounds; memory is
the process's highest.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

GIGABYTE = 1e9
ROUNDS = 3
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Safari/537",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
)
LINE = re.compile(r'(\S+) (\S+) (\S+) \[([^]]*)\] "([^"]*)" (\d+) (\S+) "([^"]*)" "([^"]*)"')


def make_log(path: Path, size: int) -> None:
    """Write a log of about so many bytes: 30 requests/s from one route in 40."""
    dice = random.Random(1)
    kinds = [f"/section{n}/{{}}/" for n in range(20)] + [f"/list{n}?page={{}}" for n in range(20)]
    second = written = 0
    with path.open("w") as file:
        while written < size:
            second += 1
            clock = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            for _ in range(30):
                target = dice.choice(kinds).format(dice.randrange(20_000))
                written += file.write(
                    f"198.51.100.{dice.randrange(256)} - - [01/Dec/2026:{clock} +0000] "
                    f'"GET {target} HTTP/1.1" {dice.choice((200, 200, 200, 304, 404))} '
                    f'{dice.randrange(90_000)} "https://example.com/list3?page=7" '
                    f'"{dice.choice(AGENTS)}"\n'
                )


def split_lines(path: Path) -> None:
    with path.open("rb") as file:
        for line in file:
            line.split()


def match_lines(path: Path) -> None:
    with path.open() as file:
        for line in file:
            LINE.match(line)


def count_requests(path: Path) -> None:
    from pretune.loadtests.access_logs.log import read_log

    read_log(path)


READERS: dict[str, Callable[[Path], None]] = {
    "split each line": split_lines,
    "one expression for each line": match_lines,
    "read_log": count_requests,
}


def measure(name: str, path: Path) -> tuple[float, float]:
    """CPU seconds for a gigabyte and MiB of memory, in a process of its own."""
    command = [sys.executable, "-m", "bench.access_logs", "--one", name, "--path", str(path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(told[0]), float(told[1])


def read_once(name: str, path: Path) -> None:
    began = time.process_time()
    READERS[name](path)
    spent = (time.process_time() - began) / path.stat().st_size * GIGABYTE
    print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return read_once(options.one, options.path)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "access.log"
        make_log(path, options.megabytes * 1_000_000)
        rounds = [[measure(name, path) for name in READERS] for _ in range(ROUNDS)]
    least = min(each[0][0] for each in rounds)
    print(f"{'':30} {'s/GB':>6} {'of split':>9} {'MiB':>6}")
    for index, name in enumerate(READERS):
        seconds = min(each[index][0] for each in rounds)
        memory = max(each[index][1] for each in rounds)
        print(f"{name:30} {seconds:6.1f} {seconds / least:9.1f} {memory:6.0f}")
    return None


if __name__ == "__main__":
    main()
