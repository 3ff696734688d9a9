"""Lines of the log, whatever becomes of the file they go to."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys

import pytest

from pretune.server.process import access_log, log_sink
from pretune.server.process.access_log import Entry
from pretune.server.process.log import Log, LogFailed

ENTRY = Entry(
    "10.0.0.7",
    "GET /a/b?c=d HTTP/1.1",
    404,
    512,
    1.2345678,
    {
        "HTTP_REFERER": "http://here/",
        "HTTP_USER_AGENT": 'evil"\n\x1b[31m',
        "HTTP_AUTHORIZATION": "Basic YW5uOnNlY3JldA==",
        "HTTP_X_REQUEST_ID": "r1",
        "CONTENT_TYPE": "text/css",
        "wsgi.url_scheme": "https",
    },
    [("Content-Type", "text/html"), ("X-Cache", "hit")],
)


@pytest.mark.parametrize(
    ("atom", "value"),
    [
        ("h", "10.0.0.7"),
        ("l", "-"),
        ("u", "ann"),
        ("r", "GET /a/b?c=d HTTP/1.1"),
        ("m", "GET"),
        ("U", "/a/b"),
        ("q", "c=d"),
        ("H", "HTTP/1.1"),
        ("s", "404"),
        ("b", "512"),
        ("B", "512"),
        ("f", "http://here/"),
        ("a", 'evil\\"\\x0a\\x1b[31m'),
        ("T", "1"),
        ("M", "1234"),
        ("D", "1234567"),
        ("L", "1.234568"),
        pytest.param("p", f"<{os.getpid()}>", id="p-own-pid"),
        ("{X-Request-Id}i", "r1"),
        ("{content-type}i", "text/css"),
        ("{absent}i", "-"),
        ("{content-type}o", "text/html"),
        ("{x-cache}o", "hit"),
        ("{wsgi.url_scheme}e", "https"),
        ("unknown", "-"),
    ],
)
def test_atoms(atom, value):
    assert access_log.line(f"%({atom})s", ENTRY) == value


def test_time_has_the_common_form():
    assert access_log.line("%(t)s", ENTRY).startswith("[")
    assert access_log.stamp().endswith("]")


def test_the_default_is_the_combined_format_of_gunicorn():
    entry = Entry("h", 'GET /" HTTP/1.0', 200, 3, 0, {"HTTP_USER_AGENT": "a"}, ())
    assert access_log.line(access_log.COMBINED, entry) == access_log.combined(
        "h", 'GET /" HTTP/1.0', 200, 3, "-", "a"
    )


@pytest.mark.parametrize("template", ["%(h)", "%(h)y", "%s %s"])
def test_a_format_that_cannot_be_used_is_refused(template):
    with pytest.raises(ValueError, match="access log format"):
        access_log.check(template)


def test_levels_leave_out_what_is_less(tmp_path):
    log = Log(str(tmp_path / "error"), level="warning")
    log.debug("a")
    log.info("b")
    log.warning("c %s %d", "d", 5)
    log.log("error", "e %(name)s", {"name": "f"})
    log.log(50, "g")
    log.error("100%")
    log.error("wrong %d", "type")
    try:
        raise KeyError("h")
    except KeyError:
        log.exception("i")
    text = (tmp_path / "error").read_text()
    assert [line.split("] ", 3)[-1] for line in text.splitlines() if line.startswith("[")] == [
        "c d 5", "e f", "g", "100%", "wrong %d ('type',)", "i",
    ]  # fmt: skip
    assert "[CRITICAL] g" in text
    assert "KeyError: 'h'" in text


@pytest.mark.parametrize("which", ["error", "access"])
def test_a_log_that_cannot_be_opened_is_said(tmp_path, which):
    paths = {"error": "-", "access": None, which: str(tmp_path / "absent" / "log")}
    with pytest.raises(LogFailed, match=f"{which} log .*absent/log: No such file"):
        Log(**paths)


def test_reopening_keeps_the_descriptor_and_leaves_none_behind(tmp_path):
    path = tmp_path / "error"
    log = Log(str(path), str(tmp_path / "access"))
    number, count = log.error_fd, len(os.listdir("/proc/self/fd"))
    path.rename(tmp_path / "error.1")
    log.info("before")
    log.reopen()
    log.info("after")
    assert log.error_fd == number
    assert len(os.listdir("/proc/self/fd")) == count
    assert "before" in (tmp_path / "error.1").read_text()
    assert path.read_text().endswith("after\n")
    assert "before" not in path.read_text()


def test_a_file_that_cannot_be_reopened_is_used_on(tmp_path):
    place = tmp_path / "logs"
    place.mkdir()
    log = Log(str(tmp_path / "error"), str(place / "access"))
    place.rename(tmp_path / "moved")
    log.reopen()
    log.access("h", "GET / HTTP/1.1", 200, 1, "-", "-")
    assert "is not reopened" in (tmp_path / "error").read_text()
    assert "GET / " in (tmp_path / "moved" / "access").read_text()


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(log_sink, "PATIENCE", 0.05)


def test_a_pipe_nobody_reads_loses_lines_and_says_how_many(hasty, tmp_path):
    read, write = os.pipe()
    complaints = []
    target = log_sink.Sink("-", write, complain=complaints.append)
    line = "x" * 1023 + "\n"
    for _ in range(100):
        target.write(line)
    # The one given does not block either way: it is shared with others.
    assert not fcntl.fcntl(write, fcntl.F_GETFL) & os.O_NONBLOCK
    assert len(complaints) == 1
    got = os.read(read, 1 << 20).count(b"\n")
    assert 0 < got < 100
    target.write("again\n")
    assert os.read(read, 1 << 20) == b"\npretune: %d lines were lost here\nagain\n" % (100 - got)
    for fd in (read, write, target.fd):
        os.close(fd)


def test_a_socket_nobody_reads_does_not_block(hasty):
    ours, theirs = socket.socketpair()
    target = log_sink.Sink("-", ours.fileno())
    for _ in range(2000):
        target.write("x" * 1023 + "\n")
    assert ours.getblocking()
    theirs.close()
    target.write("nobody is there\n")
    target._socket.close()
    ours.close()


def test_a_reader_that_went_away_is_survived(hasty):
    read, write = os.pipe()
    complaints = []
    target = log_sink.Sink("-", write, complain=complaints.append)
    os.close(read)
    for _ in range(3):
        target.write("x\n")
    assert complaints == ["cannot be written: Broken pipe"]
    os.close(write)
    os.close(target.fd)


def test_a_full_disk_is_survived(hasty, tmp_path):
    log = Log(str(tmp_path / "error"), "/dev/full")
    for _ in range(3):
        log.access("h", "GET / HTTP/1.1", 200, 1, "-", "-")
    text = (tmp_path / "error").read_text()
    assert text.count("the access log cannot be written: No space left on device") == 1
    assert os.strerror(errno.ENOSPC) in text


def test_a_named_pipe_without_a_reader_does_not_hold_up_the_start(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    target = log_sink.Sink(str(tmp_path / "pipe"), 1)
    target.write("x\n")
    with open(tmp_path / "pipe", "rb", buffering=0) as reader:
        assert reader.read(10) == b"x\n"
    os.close(target.fd)


@pytest.mark.parametrize("path", ["/dev/stdout", "-"])
def test_standard_output_by_both_of_its_names(path):
    code = (
        "from pretune.server.process.log import Log\n"
        f"Log(access={path!r}).access('h', 'GET / HTTP/1.1', 200, 1, '-', '-')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert '"GET / HTTP/1.1" 200 1' in done.stdout


def test_captured_output_goes_to_the_error_log(tmp_path):
    path = str(tmp_path / "error")
    code = (
        "import os\n"
        "from pretune.server.process.log import Log\n"
        f"log = Log({path!r}, capture=True)\n"
        "print('printed', flush=True)\n"
        f"os.rename({path!r}, {path!r} + '.1')\n"
        "log.reopen()\n"
        "os.write(2, b'written')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "error.1").read_text() == "printed\n"
    assert (tmp_path / "error").read_text() == "written"
