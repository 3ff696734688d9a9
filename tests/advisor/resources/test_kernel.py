"""Counters of the machine, from the text the kernel writes."""

import os

import pytest

from pretune.advisor.profiler.sockets import local_ports
from pretune.advisor.resources.kernel import Machine, parse_cores, parse_cpu_stat, parse_pressure

HZ = os.sysconf("SC_CLK_TCK")


def test_busy_is_what_processes_used_and_total_is_everything():
    text = f"""cpu  1 1 1 1 1 1 1 1 0 0
cpu0 {1 * HZ} {2 * HZ} {3 * HZ} {10 * HZ} {20 * HZ} {5 * HZ} {7 * HZ} {4 * HZ} 0 0
cpu1 0 0 0 {HZ} 0 0 0 0 0 0
intr 9 9 9
"""
    assert parse_cores(text) == [(6, 4, 52), (0, 0, 1)]


@pytest.mark.parametrize("counters", ["1 2 3 4", "1 2 3 4 0 0 0"])
def test_what_stands_in_for_linux_may_count_less(counters):
    assert parse_cores(f"cpu  {counters}\ncpu0 {counters}\n") == [(6 / HZ, 0, 10 / HZ)]


@pytest.mark.parametrize(
    ("text", "seconds", "periods"),
    [
        ("nr_periods 9\nnr_throttled 3\nthrottled_time 1500000000\n", 1.5, 3),
        ("usage_usec 7\nnr_periods 9\nnr_throttled 2\nthrottled_usec 250000\n", 0.25, 2),
        ("usage_usec 7\n", 0.0, 0),
    ],
)
def test_throttling_of_both_versions(text, seconds, periods):
    assert parse_cpu_stat(text) == (pytest.approx(seconds), periods)


def test_pressure_is_the_total_of_some():
    text = "some avg10=0.00 avg60=1.00 avg300=0.72 total=2500000\nfull avg10=0 total=7\n"
    assert parse_pressure(text) == pytest.approx(2.5)


def test_files_that_are_not_there_read_as_zero(tmp_path):
    machine = Machine(tmp_path / "cpu.stat", proc=tmp_path)
    assert machine.pressure() == (0.0, 0.0, 0.0)
    assert machine.throttled_s() == 0.0


def test_established_connections_to_the_port_are_found_by_inode():
    rest = "00000000:00000000 00:00000000 00000000     0        0"
    text = f"""  sl  local_address rem_address   st and so on
   0: 0100007F:D431 0100007F:1538 01 {rest} 101 1
   1: 0100007F:1538 0100007F:D431 01 {rest} 102 1
   2: 0100007F:D432 0100007F:1538 06 {rest} 103 1
   3: 0100007F:D433 0100007F:0050 01 {rest} 104 1
"""
    assert local_ports(text, 5432) == {101: 0xD431}
