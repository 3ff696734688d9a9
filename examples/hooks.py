"""The two commands of a hook, `start` and `stop`, around what an application needs.

pretune names a directory of the run in PRETUNE_RUN_DIR and in PRETUNE_ENV a file whose NAME=value
lines become the environment of the application. Without pretune, `--dir DIR` names the directory
and the lines go to the standard output:

    python -m examples.shop.services start --dir /tmp/shop > /tmp/shop.env
    python -m examples.shop.services stop --dir /tmp/shop
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path


class ServiceError(Exception):
    """Something the application needs could not be started; the message says why."""


class AlreadyStartedError(ServiceError):
    """What was to be started is there; it is somebody's, and a failed start must spare it."""


Start = Callable[[Path], Mapping[str, str]]
Stop = Callable[[Path], None]


def publish(variables: Mapping[str, str]) -> None:
    """Hand `variables` to the application."""
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    if path := os.environ.get("PRETUNE_ENV"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(lines)
    else:
        sys.stdout.write(lines)


def main(start: Start, stop: Stop) -> int:
    """Run the command that the command line asks for; a start that fails leaves nothing behind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("start", "stop"))
    parser.add_argument("--dir", type=Path, default=os.environ.get("PRETUNE_RUN_DIR"))
    options = parser.parse_args()
    if options.dir is None:
        parser.error("say where the files shall be: --dir DIR, or PRETUNE_RUN_DIR")
    directory = Path(options.dir).resolve()
    if options.command == "stop":
        stop(directory)
        return 0
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        publish(start(directory))
    except AlreadyStartedError as error:
        print(error, file=sys.stderr)
        return 1
    except BaseException as error:
        stop(directory)
        if not isinstance(error, ServiceError):
            raise
        print(error, file=sys.stderr)
        return 1
    return 0
