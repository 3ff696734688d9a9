"""The application that a server other than ours imports: ``pretune.server.entry:application``.

A module of its own, since importing it is what makes the application.
"""

from __future__ import annotations

from pretune.server.hosted.hosted_app import HostedApp, Task

application = HostedApp(Task.given()).load()
