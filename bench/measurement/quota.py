"""A CPU quota on a trial's own control group, to see what throttling does to a measurement."""

from __future__ import annotations

from pretune.advisor.resources.trial_cgroup import TrialCgroup


def set_quota(group: TrialCgroup, cores: float, period_s: float = 0.1) -> bool:
    """Let its processes use so much CPU in each period; False where that may not be set.

    Before any process is added: under version 1 only this makes a group for the scheduler, which
    without a quota would share the cores out differently.
    """
    group.add_namesake("cpu")
    period, quota = round(period_s * 1e6), round(cores * period_s * 1e6)
    files = (
        [("cpu.cfs_period_us", str(period)), ("cpu.cfs_quota_us", str(quota))]
        if group.version == 1
        else [("cpu.max", f"{quota} {period}")]
    )
    try:
        for name, text in files:
            file = group.directory_of("cpu") / name
            if not file.exists():  # a plain directory would take anything
                return False
            file.write_text(text)
    except OSError:
        return False
    return True
