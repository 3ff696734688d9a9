"""What tests of several rooms need."""

import gc
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.fast import is_fast
from support.records import BUILD, Records

REPOSITORY = Path(__file__).parents[1]

# A shell starts what it puts into the background with SIGINT ignored, and ignoring is inherited:
# no program under test would ever see a Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="write what was not tested to build/untested.txt"
    )
    parser.addoption(
        "--second-try",
        action="store_true",
        help="with --last-failed: write what now passes to build/flaky.txt",
    )


def pytest_configure(config: pytest.Config) -> None:
    second_try = config.getoption("--second-try")
    if (second_try or config.getoption("--record")) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Records(BUILD, second_try=second_try))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_fast(item.path.relative_to(REPOSITORY / "tests").as_posix()):
            item.add_marker("fast")


@pytest.fixture(scope="module", autouse=True)
def _collect_garbage():
    """What a module has left open is told at its own end, not in whatever test collects it."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A throw-away Postgres of the test module's own."""
    directory = tmp_path_factory.mktemp("postgres")
    command = [sys.executable, "-m", "examples.postgres"]
    said = subprocess.run(
        [*command, "start", "--dir", str(directory)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    yield re.search(r"DATABASE_URL=(\S+)", said)[1]
    subprocess.run([*command, "stop", "--dir", str(directory)], cwd=REPOSITORY, check=True)
