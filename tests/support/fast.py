"""The part of the suite that `make check` runs: what decides and renders, without its slow modules.

A folder below is fast as a whole; a module that waits, simulates at length or starts much is named
as SLOW. Both are paths under tests/.
"""

from __future__ import annotations

from pathlib import PurePosixPath

FAST = (
    "accuracy", "advisor", "comparison", "loadtests", "reports", "server/config", "server/http11",
    "server/process", "server/workers", "test_another_server.py", "test_docs.py", "test_rooms.py",
    "test_versions.py", "wild",
)  # fmt: skip
SLOW = (
    "accuracy/test_report.py",
    "accuracy/test_stage.py",
    "advisor/commands/test_process.py",
    "advisor/demand/test_allocation_sites.py",
    "advisor/demand/test_leak.py",
    "advisor/deployed/test_shell.py",
    "advisor/model/test_calibration.py",
    "advisor/profiler/test_sampler.py",
    "advisor/resources/test_limits.py",
    "advisor/resources/test_pooler.py",
    "advisor/resources/test_postgres.py",
    "advisor/reverse_proxy/test_checks.py",
    "advisor/test_cli.py",
    "advisor/trials/test_routing.py",
    "comparison/test_broken.py",
    "comparison/test_lifecycle.py",
    "loadtests/access_logs/test_real_logs.py",
    "loadtests/test_arrivals.py",
    "loadtests/test_driver.py",
    "loadtests/test_from_app_to_load.py",
    "loadtests/test_locustfile.py",
    "loadtests/test_locustfile_mix.py",
    "reports/test_browser.py",
    "reports/test_html.py",
    "server/process/test_listening.py",
    "server/workers/test_late_workers.py",
    "server/workers/test_stopping.py",
)
KNOWN_TRUTH = "_known_truth.py"  # the end of a module that measures what it knows already


def is_fast(path: str) -> bool:
    """A test module of this path under tests/ is of the fast part."""
    if path in SLOW or path.endswith(KNOWN_TRUTH):
        return False
    return any(PurePosixPath(path).is_relative_to(each) for each in FAST)
