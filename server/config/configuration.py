"""Makes one Config of a command line, a configuration file and the environment.

A flag goes before GUNICORN_CMD_ARGS, that before the file, that before single variables of the
environment, those before defaults. Relative paths are meant from the directory the server works
in, except those of --config and --chdir, which are meant from where it was called.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretune.server.config import commandline, conffile
from pretune.server.config.config import Config, ConfigBroken
from pretune.server.config.hooks import Hooks
from pretune.server.config.options import OPTIONS
from pretune.server.http11.limits import Limits
from pretune.server.settings import Settings


@dataclass(frozen=True)
class Gathered:
    """The settings of all sources: layers of ``(source, values by name)``, the weakest first."""

    layers: tuple[tuple[str, Mapping[str, Any]], ...]
    hooks: Hooks
    notes: tuple[tuple[str, str], ...]
    check: bool = False
    show: bool = False
    place: str | None = None  # of the configuration file, if one was read

    def value(self, name: str) -> tuple[Any, str]:
        """A setting's value and who said it; the default's source is "default"."""
        for source, layer in reversed(self.layers):
            if name in layer:
                return layer[name], source
        return (OPTIONS[name].default if name in OPTIONS else None), "default"


def gather(argv: Sequence[str], directory: str | None = None) -> Gathered:
    """Read everything; argparse exits with 2 on wrong usage. Raises ConfigBroken.

    ``directory`` is where the server was called, by default where we are.
    """
    directory = directory or current_directory()
    made = commandline.parser()
    options = made.parse_args(argv)
    flags = commandline.to_settings(options, made)
    ambient = conffile.Settings()
    location = options.config
    notes: list[tuple[str, str]] = []
    layers: list[tuple[str, Mapping[str, Any]]] = [("environment", _variables())]
    if not options.no_config and os.environ.get("GUNICORN_CMD_ARGS"):
        also = made.parse_args(shlex.split(os.environ["GUNICORN_CMD_ARGS"]))
        ambient = commandline.to_settings(also, made)
        location = location or also.config
    hooks: Mapping[str, Any] = {}
    place = None if options.no_config else conffile.find(location, directory)
    if place is not None:
        file = conffile.read(place, directory)
        hooks = file.hooks
        layers.append((place, file.known))
        notes.append(("info", f"settings are read from {place}"))
        _complain(place, file, notes)
    layers.append(("GUNICORN_CMD_ARGS", ambient.known))
    layers.append(("flag", flags.known))
    _complain("GUNICORN_CMD_ARGS", ambient, notes)
    _complain("command line", flags, notes)
    if options.target is not None:
        layers.append(("argument", {"wsgi_app": options.target}))
    if not any("wsgi_app" in layer for _, layer in layers):
        made.error("which application? Give a target, such as myapp.wsgi")
    show = options.print_config
    check = options.check_config or show
    return Gathered(tuple(layers), Hooks(hooks), tuple(notes), check, show, place)


def _complain(where: str, settings: conffile.Settings, notes: list[tuple[str, str]]) -> None:
    conffile.refuse(where, settings)
    text = conffile.warning(where, settings)
    if text is not None:
        notes.append(("warning", text))


def _variables() -> dict[str, Any]:
    """Read the settings that single variables of the environment give. Raises ConfigBroken."""
    values: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        if option.variable is not None and (text := os.environ.get(option.variable)):
            try:
                values[name] = option.convert(text)
            except ValueError as error:
                raise ConfigBroken(f"{option.variable}: {error}") from None
    if port := os.environ.get("PORT"):
        values["bind"] = (f"0.0.0.0:{port}",)
    return values


def current_directory() -> str:
    """The working directory, by the name it was entered with.

    A symlink that deployments move must stay one: HUP follows it to the new release.
    """
    real, logical = os.getcwd(), os.environ.get("PWD", "")
    try:
        same = os.path.isabs(logical) and os.path.samefile(logical, real)
    except OSError:
        same = False
    return logical if same else real


def parse(argv: Sequence[str], directory: str | None = None) -> Config:
    """Everything that was said, as a Config. Can be called again; raises ConfigBroken."""
    directory = directory or current_directory()
    return assemble(gather(argv, directory), directory)


def assemble(gathered: Gathered, directory: str) -> Config:
    """Raises ConfigBroken."""
    values = {name: gathered.value(name)[0] for name in (*OPTIONS, "wsgi_app")}
    target = values["wsgi_app"]
    if not isinstance(target, str) or not target.strip():
        raise ConfigBroken(f"{target!r} is no application: give a name, such as myapp.wsgi")
    if values["workers"] is None:
        from pretune.server.process import cores

        values["workers"] = cores.count_usable()
    # Not resolved: a symlink to the current release is followed anew at each start of a worker.
    chdir = os.path.normpath(os.path.join(directory, values["chdir"] or "."))

    def path(name: str) -> str | None:
        value: str | None = values[name]
        return value if value in (None, "-") else os.path.normpath(os.path.join(chdir, value))

    uploads = path("tmp_upload_dir")
    if uploads is not None and not os.path.isdir(uploads):
        raise ConfigBroken(f"tmp_upload_dir: there is no directory {uploads}")
    return Config(
        target=target.strip(),
        settings=Settings(**{n: values[n] for n in Settings.__dataclass_fields__}),
        binds=values["bind"],
        chdir=chdir,
        env=values["raw_env"],
        access_log=path("accesslog"),
        error_log=path("errorlog") or "-",
        pid_file=path("pidfile"),
        forwarded_allow_ips=values["forwarded_allow_ips"],
        proxy_protocol=values["proxy_protocol"],
        proxy_allow_ips=values["proxy_allow_ips"],
        log_level=values["loglevel"],
        access_format=values["access_log_format"],
        capture_output=values["capture_output"],
        pythonpath=tuple(os.path.join(chdir, each) for each in values["pythonpath"]),
        boot_timeout=values["boot_timeout"],
        max_worker_memory=values["max_worker_memory"],
        worker_buffer_memory=values["worker_buffer_memory"],
        worker_buffer_files=values["worker_buffer_files"],
        tmp_upload_dir=uploads,
        max_worker_age=values["max_worker_age"],
        limits=Limits(
            values["limit_request_line"],
            values["limit_request_fields"],
            values["limit_request_field_size"],
            values["limit_request_body"],
            values["websocket_max_message_size"],
            values["websocket_max_memory"],
        ),
        user=values["user"],
        group=values["group"],
        umask=values["umask"],
        reuse_port=values["reuse_port"],
        proc_name=values["proc_name"],
        metrics=values["metrics"],
        hooks=gathered.hooks,
        notes=(*gathered.notes, *_exposed(gathered.place, values["user"])),
        events_fd=values["events_fd"],
        telemetry=path("telemetry"),
        probes=values["probes"],
    )


def _exposed(place: str | None, user: int | None) -> list[tuple[str, str]]:
    """A warning if the app's user could become root by the file that root executes."""
    if place is None or place.startswith("python:") or user is None or os.geteuid() != 0:
        return []
    from pretune.server.process.path_rights import controller

    try:
        who = controller(place)
    except OSError:  # read, and gone since
        return []
    if who == 0:
        return []
    text = f"{place} runs as root, and user {who} can change it: give it and its directory to root"
    return [("warning", text)]
