"""Limits of machines and containers built as trees of files, and of this machine for real."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bench.measurement.quota import set_quota
from pretune.advisor.resources import cgroups, limits
from pretune.advisor.resources.trial_cgroup import TrialCgroup

GIB = 1 << 30
UNLIMITED_V1 = str(0x7FFFFFFFFFFFF000)


class Machine:
    """A root directory with proc/ and control groups."""

    def __init__(self, root: Path, *, ram: int = 8 * GIB, cores: int = 8) -> None:
        self.root = root
        self.mounts: list[str] = []
        self.groups: list[str] = []
        self.write("proc/meminfo", f"MemTotal: {ram // 1024} kB\nMemAvailable: {ram // 2048} kB\n")
        self.write("proc/stat", "cpu 1\n" + "".join(f"cpu{i} 1\n" for i in range(cores)) + "x\n")
        self._tell()

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def v1(self, controller: str, group: str, *, seen: str = "/", options: str = "") -> str:
        """Mount a hierarchy of which ``seen`` shows; returns where its mount is."""
        point = f"/sys/fs/cgroup/{controller}"
        kind = options or controller
        self.mounts.append(f"40 31 0:30 {seen} {point} rw,nosuid - cgroup cgroup rw,{kind}")
        self.groups.append(f"{len(self.groups) + 3}:{kind}:{group}")
        self._tell()
        return point.lstrip("/")

    def v2(self, group: str) -> str:
        self.mounts.append("41 31 0:31 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw")
        self.groups.append(f"0::{group}")
        self._tell()
        return "sys/fs/cgroup"

    def _tell(self) -> None:
        self.write("proc/self/mountinfo", "".join(f"{line}\n" for line in self.mounts))
        self.write("proc/self/cgroup", "".join(f"{line}\n" for line in self.groups))

    def detect(self, affinity: int = 8) -> limits.Limits:
        return limits.detect(self.root, affinity=affinity, fds=1024)


def test_without_control_groups_the_machine_is_the_limit(tmp_path):
    found = Machine(tmp_path).detect()
    assert (found.ram_bytes, found.cores, found.fds) == (8 * GIB, 8.0, 1024)
    assert found.sources["ram_bytes"] == "this machine's memory"
    assert found.sources["cores"] == "this machine's cores"


def test_v1_the_tightest_limit_on_the_way_up_counts(tmp_path):
    machine = Machine(tmp_path)
    mount = machine.v1("memory", "/pods/app")
    machine.write(f"{mount}/memory.limit_in_bytes", UNLIMITED_V1)
    machine.write(f"{mount}/pods/memory.limit_in_bytes", str(2 * GIB))
    machine.write(f"{mount}/pods/app/memory.limit_in_bytes", str(4 * GIB))
    found = machine.detect()
    assert found.ram_bytes == 2 * GIB
    assert found.sources["ram_bytes"] == "cgroup v1 memory limit"


def test_v1_no_limit_is_no_limit(tmp_path):
    machine = Machine(tmp_path)
    mount = machine.v1("memory", "/")
    machine.write(f"{mount}/memory.limit_in_bytes", UNLIMITED_V1)
    assert machine.detect().ram_bytes == 8 * GIB


def test_v1_a_quota_is_fractional_cores(tmp_path):
    machine = Machine(tmp_path)
    mount = machine.v1("cpu", "/app", options="cpu,cpuacct")
    machine.write(f"{mount}/cpu.cfs_quota_us", "-1")
    machine.write(f"{mount}/cpu.cfs_period_us", "100000")
    machine.write(f"{mount}/app/cpu.cfs_quota_us", "150000")
    machine.write(f"{mount}/app/cpu.cfs_period_us", "100000")
    found = machine.detect()
    assert found.cores == 1.5
    assert found.sources["cores"] == "cgroup v1 CPU quota"
    assert limits.cpu_stat(tmp_path) == tmp_path / f"{mount}/app/cpu.stat"


def test_v1_in_a_container_the_mount_is_our_group(tmp_path):
    # /proc/self/cgroup names the host's path; only our subtree is mounted.
    machine = Machine(tmp_path)
    mount = machine.v1("memory", "/docker/abc", seen="/docker/abc")
    machine.write(f"{mount}/memory.limit_in_bytes", str(1 * GIB))
    assert machine.detect().ram_bytes == 1 * GIB


def test_v2_limits_along_the_path(tmp_path):
    machine = Machine(tmp_path)
    mount = machine.v2("/kube/pod/app")
    machine.write(f"{mount}/kube/pod/app/cgroup.controllers", "cpuset cpu memory pids")
    machine.write(f"{mount}/kube/pod/app/memory.max", "max")
    machine.write(f"{mount}/kube/pod/memory.max", str(3 * GIB))
    machine.write(f"{mount}/kube/pod/app/cpu.max", "max 100000")
    machine.write(f"{mount}/kube/cpu.max", "50000 100000")
    found = machine.detect()
    assert (found.ram_bytes, found.cores) == (3 * GIB, 0.5)
    assert found.sources["cores"] == "cgroup v2 CPU quota"


def test_v2_in_a_container_with_a_group_outside_its_namespace(tmp_path):
    machine = Machine(tmp_path)
    mount = machine.v2("/../../app")
    machine.write(f"{mount}/cgroup.controllers", "cpu memory")
    machine.write(f"{mount}/memory.max", str(1 * GIB))
    assert machine.detect().ram_bytes == 1 * GIB


def test_a_hybrid_machine_is_read_where_the_controller_is(tmp_path):
    machine = Machine(tmp_path)
    machine.v2("/app")
    machine.write("sys/fs/cgroup/app/cgroup.controllers", "")
    mount = machine.v1("memory", "/")
    machine.write(f"{mount}/memory.limit_in_bytes", str(1 * GIB))
    assert machine.detect().ram_bytes == 1 * GIB


def test_the_tightest_of_machine_affinity_cpuset_and_quota(tmp_path):
    machine = Machine(tmp_path)
    mount = machine.v1("cpuset", "/")
    machine.write(f"{mount}/cpuset.effective_cpus", "0-2,7")
    assert machine.detect().cores == 4
    assert machine.detect().sources["cores"] == "cgroup v1 cpuset"
    found = machine.detect(affinity=2)
    assert (found.cores, found.sources["cores"]) == (2, "CPU affinity")


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("0-3", 4), ("0-1,4,6-7", 5)])
def test_lists_of_cpus(text, count):
    assert cgroups.count_cpus(text) == count


def test_available_memory_respects_what_the_group_already_uses(tmp_path):
    machine = Machine(tmp_path)
    mount = machine.v1("memory", "/")
    machine.write(f"{mount}/memory.limit_in_bytes", str(2 * GIB))
    machine.write(f"{mount}/memory.usage_in_bytes", str(1 * GIB))
    machine.write(f"{mount}/memory.stat", f"cache 0\ntotal_inactive_file {GIB // 4}\n")
    assert cgroups.available_ram(tmp_path) == 1 * GIB + GIB // 4


def test_this_machine_says_something_sensible():
    found = limits.detect()
    assert found.ram_bytes >= 64 << 20
    assert 0 < found.cores <= os.cpu_count()
    assert found.fds > 0
    assert set(found.sources) == {"ram_bytes", "cores", "fds"}


def test_v2_the_group_is_made_beside_us_where_ours_holds_processes(tmp_path):
    machine = Machine(tmp_path)
    mount = machine.v2("/user/app")
    machine.write(f"{mount}/user/app/cgroup.controllers", "memory")
    machine.write(f"{mount}/user/app/cgroup.subtree_control", "")
    machine.write(f"{mount}/user/cgroup.subtree_control", "cpu memory")
    # A plain directory has no cgroup.procs, so the group cannot take processes and is given up;
    # that it was tried there and nowhere else is what can be seen without a kernel.
    tried = []
    original = Path.mkdir

    def mkdir(self, *args, **kwargs):
        original(self, *args, **kwargs)
        (self / "cgroup.procs").touch()
        tried.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", mkdir)
        group = TrialCgroup.create("trial", limit_bytes=GIB, root=tmp_path)
    assert tried == [tmp_path / mount / "user/trial"]
    assert group is not None
    assert (group.path / "memory.max").read_text() == str(GIB)
    machine.write(f"{mount}/user/trial/memory.stat", "anon 10\nfile 7\nkernel 5\nsock 3\n")
    machine.write(f"{mount}/user/trial/memory.current", "25\n")
    machine.write(f"{mount}/user/trial/memory.events", "low 0\noom 2\noom_kill 1\n")
    machine.write(f"{mount}/user/trial/memory.peak", "30\n")
    assert group.usage() == (25, 8, 7, 30, 1)
    machine.write(f"{mount}/user/trial/memory.events", "low 0\nhigh 7\nmax 3\noom 2\noom_kill 1\n")
    machine.write(
        f"{mount}/user/trial/cpu.stat",
        "usage_usec 2500000\nnr_periods 9\nnr_throttled 2\nthrottled_usec 250000\n",
    )
    for name, total in (("cpu", 1_500_000), ("memory", 20_000), ("io", 30_000)):
        pressure = f"some avg10=0 avg60=0 avg300=0 total={total}\nfull avg10=0 total=1\n"
        machine.write(f"{mount}/user/trial/{name}.pressure", pressure)
    assert group.account() == (2.5, 0.25, 2, 7, 3, 2, 1, 1.5, 0.02, 0.03)
    assert not set_quota(group, 0.5)  # no cpu.max where the controller is not handed down
    machine.write(f"{mount}/user/trial/cpu.max", "max 100000")
    assert set_quota(group, 0.5)
    assert (group.path / "cpu.max").read_text() == "50000 100000"


def test_without_a_group_to_write_to_there_is_none(tmp_path):
    machine = Machine(tmp_path)
    machine.v2("/app")
    machine.write("sys/fs/cgroup/app/cgroup.controllers", "memory")
    assert TrialCgroup.create("trial", root=tmp_path) is None
    assert TrialCgroup.create("trial", root=tmp_path / "nothing") is None


ALLOCATOR = textwrap.dedent("""
    import sys
    sys.stdin.readline()
    held = bytearray(b"x" * int(sys.argv[1]))
    print("held", flush=True)
    sys.stdin.readline()
""")


def allocator(size: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", ALLOCATOR, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.fixture
def group():
    group = TrialCgroup.create(f"pretune-test-{os.getpid()}", limit_bytes=96 << 20)
    if group is None:
        pytest.skip("no memory group can be made here")
    yield group
    for pid in group.pids():
        os.kill(pid, signal.SIGKILL)
    paths = group.paths()
    assert group.remove()
    assert not any(path.exists() for path in paths)


# What a group uses is charged to it in batches, ahead, for each core: 64 pages of 4 KiB
# (MEMCG_CHARGE_BATCH in Linux's memcontrol.c). A reading may be too high by as much.
CHARGED_AHEAD = (os.cpu_count() or 1) * 64 * 4096


def test_a_real_group_counts_what_its_processes_allocate(group):
    process = allocator(20 << 20)
    assert group.add(process.pid)
    before = group.usage()
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"held\n"
    held = group.usage()
    assert process.pid in group.pids()
    assert held.total_bytes - before.total_bytes >= (20 << 20) - CHARGED_AHEAD
    assert held.peak_bytes >= 20 << 20
    assert held.oom_kills == 0
    process.communicate(b"\n")


def test_a_real_group_ends_a_process_that_takes_too_much(group):
    process = allocator(200 << 20)
    assert group.add(process.pid)
    process.communicate(b"\n")
    assert process.returncode == -9
    assert group.usage().oom_kills == 1


BURNER = "import sys, time\nsys.stdin.readline()\nwhile time.process_time() < 0.3: pass"


def test_a_real_group_counts_cpu_and_what_its_quota_held_back(group):
    if not set_quota(group, 0.25):
        pytest.skip("no CPU quota can be set here")
    process = subprocess.Popen([sys.executable, "-c", BURNER], stdin=subprocess.PIPE)
    assert group.add(process.pid)
    before = group.account()
    process.communicate(b"\n")
    after = group.account()
    # its start before it joined is another group's
    assert 0.2 <= after.cpu_s - before.cpu_s <= 0.3 + 0.2
    assert after.throttled_periods > before.throttled_periods
    assert after.throttled_s > before.throttled_s


def test_a_real_group_counts_how_often_its_limit_was_hit(group):
    process = allocator(200 << 20)
    assert group.add(process.pid)
    process.communicate(b"\n")
    account = group.account()
    assert account.max >= 1
    assert account.oom_kills == 1


def test_a_group_that_is_gone_reads_as_nothing(group):
    assert group.remove()
    assert group.usage() == (0, 0, 0, 0, 0)
    assert not any(group.account())
    assert group.pids() == ()
    assert not group.add(os.getpid())
