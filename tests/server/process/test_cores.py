"""The default number of workers, on trees of control groups made for it."""

from __future__ import annotations

import os

import pytest

from pretune.server.process import cores

V2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = (
    "31 20 0:27 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 20 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A tree of /proc and /sys, on a machine with 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))

    def make(cgroup: str, mounts: str, files: dict[str, str]) -> str:
        for path, text in {
            "proc/self/cgroup": cgroup,
            "proc/self/mountinfo": "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts,
            **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
        }.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return str(tmp_path)

    return make


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        ({"app/web/cpu.max": "max 100000"}, 16),
        ({"app/web/cpu.max": "200000 100000"}, 2),
        ({"app/web/cpu.max": "150000 100000"}, 2),
        ({"app/web/cpu.max": "10000 100000"}, 1),
        ({"app/web/cpu.max": "400000 100000", "app/cpu.max": "250000 100000"}, 3),
        ({"app/web/cpu.max": "max 100000", "cpu.max": "500000 100000"}, 5),
        ({"app/web/cpu.max": "9900000 100000"}, 16),
        ({"app/web/cpu.max": "nonsense"}, 16),
    ],
)
def test_version_2_takes_the_tightest_quota_rounded_up(machine, files, expected):
    assert cores.count_usable(machine("0::/app/web\n", V2, files)) == expected


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({"app/web": (-1, 100000)}, 16),
        ({"app/web": (350000, 100000)}, 4),
        ({"app/web": (350000, 100000), "app": (120000, 100000)}, 2),
        ({"app/web": (50000, 100000)}, 1),
    ],
)
def test_version_1_takes_the_tightest_quota_rounded_up(machine, quotas, expected):
    files = {}
    for group, (quota, period) in quotas.items():
        files[f"cpu,cpuacct/{group}/cpu.cfs_quota_us"] = f"{quota}\n"
        files[f"cpu,cpuacct/{group}/cpu.cfs_period_us"] = f"{period}\n"
    root = machine("4:cpu,cpuacct:/app/web\n3:memory:/other\n0::/\n", V1.format(top="/"), files)
    assert cores.count_usable(root) == expected


def test_a_container_sees_its_own_group_as_the_root(machine):
    """Docker mounts the container's part of the tree, but names the group as the host does."""
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    root = machine("4:cpu,cpuacct:/docker/abc\n", V1.format(top="/docker/abc"), files)
    assert cores.count_usable(root) == 3
    assert cores.count_usable(machine("0::/../other\n", V2, {"cpu.max": "200000 100000"})) == 2


def test_the_affinity_is_a_limit_too(machine, monkeypatch):
    root = machine("0::/\n", V2, {"cpu.max": "800000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert cores.count_usable(root) == 2


def test_without_control_groups_the_affinity_counts(tmp_path):
    assert cores.count_usable(str(tmp_path)) == len(os.sched_getaffinity(0))
