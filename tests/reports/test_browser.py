"""The page in a real Chromium: nothing fetched, nothing run, nothing wider than the screen."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time

import pytest

from pretune.reports import html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
PATIENCE_S = 60


class Browser:
    """Chromium over its debugging pipe: it reads commands from fd 3 and writes to fd 4."""

    def __init__(self, profile):
        read_commands, self._commands = os.pipe()
        self._replies, write_replies = os.pipe()

        def arrange():
            # Both first out of the way: either may already be 3 or 4.
            commands, replies = os.dup(read_commands), os.dup(write_replies)
            os.dup2(commands, 3)
            os.dup2(replies, 4)

        self._process = subprocess.Popen(
            [
                CHROMIUM,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            preexec_fn=arrange,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_replies)
        self._number, self._buffer, self.events, self._session = 0, b"", [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        number = self._number
        return self._until(lambda reply: reply.get("id") == number).get("result", {})

    def _until(self, wanted):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            while b"\0" not in self._buffer:
                ready, _, _ = select.select([self._replies], [], [], deadline - time.monotonic())
                data = os.read(self._replies, 1 << 20) if ready else b""
                if not data:
                    raise TimeoutError("chromium does not answer")
                self._buffer += data
            text, _, self._buffer = self._buffer.partition(b"\0")
            reply = json.loads(text)
            if "id" not in reply:
                self.events.append(reply)
            if wanted(reply):
                assert "error" not in reply, reply
                return reply

    def open(self, path, width, height, scheme):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        if not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._until(lambda reply: reply.get("method") == "Page.loadEventFired")

    def value(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"][
            "value"
        ]

    def said(self, *methods):
        return [event for event in self.events if event["method"] in methods]

    def screenshot(self):
        return base64.b64decode(
            self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        )

    def close(self):
        os.close(self._commands)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._replies)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize(
    ("width", "scheme"), [(1100, "light"), (1100, "dark"), (360, "light"), (360, "dark")]
)
def test_nothing_is_fetched_logged_or_too_wide(browser, load, tmp_path, width, scheme):
    page = tmp_path / "report.html"
    html.write(page, load("fits"))
    browser.open(page, width, 900, scheme)
    picture = browser.screenshot()
    (tmp_path / "report.png").write_bytes(picture)
    requested = [
        event["params"]["request"]["url"] for event in browser.said("Network.requestWillBeSent")
    ]
    assert requested == [page.as_uri()]
    assert not browser.said("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelectorAll('svg').length") == 5
    assert len(picture) > 20_000
    red = browser.value("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]")
    assert int(red) > 200 if scheme == "light" else int(red) < 60
    ink = browser.value("getComputedStyle(document.querySelector('svg text')).fill")
    assert ink != "rgb(16, 17, 18)"  # the role's placeholder: the stylesheet has replaced it


def test_a_hostile_document_runs_nothing(browser, load, poisoned, tmp_path):
    page = tmp_path / "report.html"
    html.write(page, poisoned(load("fits")))
    browser.open(page, 1100, 900, "light")
    assert browser.value("document.images.length + document.scripts.length") == 0
    assert not browser.said("Page.javascriptDialogOpening", "Runtime.exceptionThrown")
    assert len(browser.said("Network.requestWillBeSent")) == 1
    assert browser.value("document.documentElement.scrollWidth") <= 1100
