"""Opens paths so that nobody but root can say which file root opens.

A master that runs as root creates logs, sockets and pid files in directories that may belong to the
app's user, who may have put a link there, to /etc/shadow for instance. So root steps down the path
one directory at a time, holding each by a descriptor, and looks who owns the next step. As long as
that is root, only root can have chosen where the path leads, and links are followed as usual. From
the first step on that belongs to somebody else, the rest is opened with the rights of that user and
group, and the kernel refuses what this user could not have opened anyway. (systemd-tmpfiles refuses
such paths altogether; log directories of the app's user are too common for that.)

Without root's rights there is nothing to guard: paths are opened as they are.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as in the kernel (path_resolution(7))
_NOGROUP = 65534
_OPEN_FILES = re.compile(r"/proc/\d+(/task/\d+)?/fd")


@dataclass(frozen=True)
class Place:
    """The place of a file, for the functions of ``os``: ``name`` as seen from ``dir_fd``.

    ``no_follow`` is to be added to the flags of ``os.open``: links that may be followed have been.
    ``shared``: root acts, in a directory in which others may create files too.
    """

    dir_fd: int | None
    name: str
    no_follow: int = 0
    shared: bool = False


@contextlib.contextmanager
def place_of(path: str, *, link: bool = True) -> Iterator[Place]:
    """A place, and inside the block the rights it is to be used with. Raises OSError.

    ``link``: whether the file itself may be a link of root's.
    """
    if os.geteuid() != 0:
        yield Place(None, path)
        return
    directory, name, owner = _walk(path, link=link)
    try:
        if owner is not None:
            with _rights_of(*owner):
                yield Place(directory, name, os.O_NOFOLLOW)
        else:
            shared = bool(os.fstat(directory).st_mode & (stat.S_IWGRP | stat.S_IWOTH))
            no_follow = 0 if _holds_open_files(directory) else os.O_NOFOLLOW
            yield Place(directory, name, no_follow, shared)
    finally:
        os.close(directory)


def refuse_hard_link(place: Place, info: os.stat_result) -> None:
    """Raise PermissionError if somebody may have linked a file of root's to this place."""
    if place.shared and info.st_nlink > 1:
        raise PermissionError(
            errno.EPERM, "it has more than one name (hard link), in a directory others can write to"
        )


def socket_at(place: Place) -> tuple[int, int]:
    """Device and inode of a unix socket that was just made there. Raises OSError if it is not."""
    with contextlib.suppress(FileNotFoundError):
        info = os.stat(place.name, dir_fd=place.dir_fd, follow_symlinks=False)
        if stat.S_ISSOCK(info.st_mode) and info.st_nlink == 1 and info.st_uid == os.geteuid():
            return info.st_dev, info.st_ino
    raise PermissionError(errno.EPERM, "somebody is moving files there at this moment")


def give_socket(path: str, file: tuple[int, int], owner: tuple[int, int]) -> None:
    """Chown the file that was found by ``socket_at``, as root. Raises OSError."""
    with place_of(path) as place:
        handle = os.open(place.name, _STEP, dir_fd=place.dir_fd)
    try:
        # Pinned: whatever is put in its place from here on, this inode is meant.
        info = os.fstat(handle)
        if (info.st_dev, info.st_ino) != file or info.st_nlink > 1:
            raise PermissionError(errno.EPERM, "somebody is moving files there at this moment")
        os.chown(f"/proc/self/fd/{handle}", *owner)
    finally:
        os.close(handle)


def controller(path: str) -> int:
    """The uid of who can change what ``path`` leads to, besides root; 0 if nobody. Raises OSError.

    Called by root; members of a group that may write to a directory are not looked for.
    """
    directory, name, owner = _walk(path)
    try:
        if owner is not None:
            return owner[0]
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid
        except FileNotFoundError:
            return 0
    finally:
        os.close(directory)


def _walk(path: str, *, link: bool = True) -> tuple[int, str, tuple[int, int] | None]:
    """Step down as far as all belongs to root.

    A descriptor of the directory reached, the rest of the path, and uid and gid of the step that
    belongs to somebody else; None if only the file itself is left.
    """
    steps = deque(os.path.join(os.getcwd(), path).split("/"))
    links = 0
    at = os.open("/", _STEP | os.O_DIRECTORY)
    try:
        while True:
            step = steps.popleft()
            if not steps and step in ("", ".", ".."):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if step in ("", "."):
                continue
            if not steps:
                target = _link_of_root(at, step) if link else None
                if target is None:
                    return at, step, None
            else:
                after = os.open(step, _STEP, dir_fd=at)
                info = os.fstat(after)
                if info.st_uid != 0:
                    os.close(after)
                    return at, "/".join((step, *steps)), (info.st_uid, info.st_gid)
                if not stat.S_ISLNK(info.st_mode):
                    os.close(at)
                    at = after
                    continue
                target = os.readlink("", dir_fd=after)
                os.close(after)
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            steps.extendleft(reversed(target.split("/")))
            if target.startswith("/"):
                os.close(at)
                at = os.open("/", _STEP | os.O_DIRECTORY)
    except BaseException:
        os.close(at)
        raise


def _holds_open_files(directory: int) -> bool:
    """Return whether it is a process's list of descriptors, where to follow a link is to open the
    file.
    """
    try:
        return _OPEN_FILES.fullmatch(os.readlink(f"/proc/self/fd/{directory}")) is not None
    except OSError:  # there is no /proc, hence no such list
        return False


def _link_of_root(directory: int, name: str) -> str | None:
    """Return where the link leads, if it is one that may be followed.

    Raises OSError for a link of somebody else's.
    """
    if _holds_open_files(directory):
        return None
    try:
        handle = os.open(name, _STEP, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        info = os.fstat(handle)
        if not stat.S_ISLNK(info.st_mode):
            return None
        if info.st_uid != 0:
            text = f"it is a symbolic link of user {info.st_uid}, which root does not follow"
            raise PermissionError(errno.EPERM, text)
        return os.readlink("", dir_fd=handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _rights_of(uid: int, gid: int) -> Iterator[None]:
    """Act as this user; ``gid`` for one without an account. Raises OSError if we may not."""
    import pwd

    try:
        account = pwd.getpwuid(uid)
        gid, groups = account.pw_gid, os.getgrouplist(account.pw_name, account.pw_gid)
    except KeyError:
        gid = gid or _NOGROUP
        groups = [gid]
    before, group_before = os.getgroups(), os.getegid()
    try:
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group_before)
        os.setgroups(before)
