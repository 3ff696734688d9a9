"""The privileges of the processes that run the app: user and groups, umask, directory, title.

The master keeps what it was started with (it needs it to bind again, to read the workers' memory
and to hand over log files); workers and the zygote take on the other before the app is imported.
"""

from __future__ import annotations

import os
import sys

from pretune.server.config.config import Config, ConfigBroken
from pretune.server.process import proctitle

_CAP_SETGID, _CAP_SETUID = 6, 7  # capabilities(7)


def user_id(value: str | int) -> int:
    """The uid of a name or number. Raises ValueError."""
    if isinstance(value, int) or value.isdigit():
        return int(value)
    import pwd

    try:
        return pwd.getpwnam(value).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {value!r}") from None


def group_id(value: str | int) -> int:
    """The gid of a name or number. Raises ValueError."""
    if isinstance(value, int) or value.isdigit():
        return int(value)
    import grp

    try:
        return grp.getgrnam(value).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {value!r}") from None


def owner(config: Config) -> tuple[int, int] | None:
    """``(uid, gid)`` of the processes that run the app; None: the master's own."""
    if config.user is None and config.group is None:
        return None
    uid = os.geteuid() if config.user is None else config.user
    if config.group is not None:
        return uid, config.group
    import pwd

    try:
        return uid, pwd.getpwuid(uid).pw_gid
    except KeyError:  # a number without an account, as containers use them
        return uid, os.getegid()


def check(config: Config) -> None:
    """Say before anything starts what ``assume`` will not be allowed. Raises ConfigBroken."""
    wanted = owner(config)
    if wanted is None or os.geteuid() == 0:
        return
    uid, gid = wanted
    if (uid != os.geteuid() and not _capable(_CAP_SETUID)) or (
        gid not in (os.getegid(), *os.getgroups()) and not _capable(_CAP_SETGID)
    ):
        raise ConfigBroken(
            f"workers should run as user {uid}, group {gid}: only root can arrange that"
        )


def assume(config: Config, role: str = "worker") -> None:
    """Make this process what the app should run in. Once is enough, twice does no harm.

    Raises OSError. The order matters: a process that is not root any more can neither write its
    title nor enter every directory.
    """
    proctitle.set_title(proctitle.compose(role, config.proc_name or config.target))
    os.chdir(config.chdir)
    os.environ.update(config.env)
    sys.path[:0] = [path for path in config.pythonpath if path not in sys.path]
    if config.umask is not None:
        os.umask(config.umask)
    wanted = owner(config)
    if wanted is not None and wanted != (os.geteuid(), os.getegid()):
        _become(*wanted)
        # An interpreter under root's home: modules imported from here on would seem to be missing.
        if not os.access(os.__file__, os.R_OK):
            library = os.path.dirname(os.__file__)
            raise PermissionError(f"user {wanted[0]} may not read Python's own library, {library}")


def _become(uid: int, gid: int) -> None:
    """Groups first: afterwards we may not. setuid as root also gives up the saved uid."""
    if os.geteuid() == 0 or _capable(_CAP_SETGID):
        import pwd

        # Root's supplementary groups (docker, disk) would be nearly as good as root.
        try:
            os.initgroups(pwd.getpwuid(uid).pw_name, gid)
        except KeyError:
            os.setgroups([gid])
    if gid != os.getegid():
        os.setgid(gid)
    if uid != os.geteuid():
        os.setuid(uid)


def _capable(number: int) -> bool:
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"CapEff:"):
                    return bool(int(line.split()[1], 16) >> number & 1)
    except (OSError, ValueError):
        pass
    return False
