"""A calendar of 30 events and an address book, each as a client would put them."""

import http.client
import subprocess
import sys
import time
from pathlib import Path

port = "47123"
server = subprocess.Popen(
    [sys.executable, "-m", "radicale", "--config", "config", "--hosts", f"127.0.0.1:{port}"]
)
EVENT = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//bench//
BEGIN:VEVENT
UID:event-{0}
DTSTAMP:20260101T000000Z
DTSTART:202601{1:02}T100000Z
DTEND:202601{1:02}T110000Z
SUMMARY:Meeting {0}
END:VEVENT
END:VCALENDAR
"""


def ask(method, path, body=""):
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
    headers = {"Content-Type": "text/calendar; charset=utf-8"}
    connection.request(method, path, body.replace("\n", "\r\n"), headers)
    status = connection.getresponse().status
    assert status < 300, (method, path, status)


try:
    for _ in range(100):
        time.sleep(0.1)
        try:
            ask("GET", "/.web/")
            break
        except OSError:
            continue
    ask("MKCALENDAR", "/ann/work/")
    for number in range(30):
        ask("PUT", f"/ann/work/event-{number}.ics", EVENT.format(number, 1 + number % 28))
finally:
    server.terminate()
    server.wait()
assert Path("collections").is_dir()
