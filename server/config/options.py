"""All settings, in one table: gunicorn's name, flags, how a value is read, what it means.

The command line, the configuration file, the environment and ``--help`` are read off it. Add a row
to add a setting, and say in cli.assemble where it goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pretune.server.config import values
from pretune.server.config.config import AUTO_CLASS, Config
from pretune.server.http11.limits import Limits
from pretune.server.settings import WORKER_CLASSES, Settings


@dataclass(frozen=True)
class Option:
    """``name`` is gunicorn's, or ours in its style. ``kind``: store, true, append or optional."""

    name: str
    flags: tuple[str, ...]
    convert: Callable[[Any], Any]
    default: Any
    help: str
    kind: str = "store"
    metavar: str | None = None
    shown: str | None = None  # what --help says of the default
    variable: str | None = None  # of the environment


_S, _C, _L = Settings(), Config, Limits()
_count = values.count

# group -> its settings
GROUPS: dict[str, tuple[Option, ...]] = {
    "the application": (
        Option("chdir", ("--chdir",), values.text, ".", "work in this directory", metavar="DIR",
               shown="where it is called"),
        Option("pythonpath", ("--pythonpath",), values.directories, (),
               "search these for modules first, with commas between", metavar="DIRS"),
        Option("raw_env", ("-e", "--env"), values.pairs, (),
               "set this in the environment; may be repeated", "append", "NAME=VALUE"),
        Option("preload_app", ("--preload",), values.switch, _S.preload_app,
               "load the app once, in a process that forks the workers", "true"),
        Option("boot_timeout", ("--boot-timeout",), values.seconds, _C.boot_timeout,
               "longest an import may take", metavar="TIME", shown="--timeout, at least 60"),
    ),
    "workers": (
        Option("workers", ("-w", "--workers"), _count(1, 1000), None,
               "processes that serve", metavar="N",
               shown="the cores that affinity and quotas leave us", variable="WEB_CONCURRENCY"),
        Option("threads", ("--threads",), _count(1, 4096), _S.threads,
               "requests at a time in one worker", metavar="N"),
        Option("worker_class", ("-k", "--worker-class"), values.worker_class, AUTO_CLASS,
               f"{', '.join((AUTO_CLASS, *WORKER_CLASSES))}; names of gunicorn's and uvicorn's "
               "are understood", metavar="CLASS", shown="what the app and --threads ask for"),
        Option("worker_connections", ("--worker-connections",), _count(1), _S.worker_connections,
               "open connections of one worker", metavar="N"),
        Option("timeout", ("-t", "--timeout"), values.seconds, _S.timeout,
               "longest a request may take (asgi: the event loop may stand still); 0: no limit",
               metavar="TIME"),
        Option("graceful_timeout", ("--graceful-timeout",), values.seconds, _S.graceful_timeout,
               "longest a stop may take", metavar="TIME"),
        Option("keepalive", ("--keep-alive",), values.seconds, _S.keepalive,
               "how long an idle connection is kept", metavar="TIME"),
    ),
    "recycling": (
        Option("max_requests", ("--max-requests",), _count(0), _S.max_requests,
               "replace a worker after so many requests; 0: never", metavar="N"),
        Option("max_requests_jitter", ("--max-requests-jitter",), _count(0),
               _S.max_requests_jitter, "at most so many are added, at random", metavar="N"),
        Option("max_worker_memory", ("--max-worker-memory",), values.size, _C.max_worker_memory,
               "replace a worker that holds more (PSS), such as 512M; 0: never", metavar="SIZE"),
        Option("max_worker_age", ("--max-worker-age",), values.seconds, _C.max_worker_age,
               "replace a worker that is older, such as 12h; 0: never", metavar="TIME"),
    ),
    "sockets": (
        Option("bind", ("-b", "--bind"), values.binds, _C.binds,
               "HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N; may be repeated", "append",
               "ADDRESS", shown="127.0.0.1:8000, or 0.0.0.0:$PORT"),
        Option("backlog", ("--backlog",), _count(1), _S.backlog, "connections the kernel queues",
               metavar="N"),
        Option("reuse_port", ("--reuse-port",), values.switch, _C.reuse_port,
               "let another server listen on the same port", "true"),
        Option("forwarded_allow_ips", ("--forwarded-allow-ips",), values.addresses,
               _C.forwarded_allow_ips, "peers whose forwarded headers are believed; * is everyone",
               metavar="IPS", variable="FORWARDED_ALLOW_IPS"),
        Option("proxy_protocol", ("--proxy-protocol",), values.proxy_protocol, _C.proxy_protocol,
               "connections begin with a PROXY header, of either version", "optional", "VERSION"),
        Option("proxy_allow_ips", ("--proxy-allow-from",), values.addresses, _C.proxy_allow_ips,
               "peers that may send one; * is everyone", metavar="IPS"),
        Option("metrics", ("--metrics-bind",), values.text, _C.metrics,
               "answer Prometheus at this address", metavar="ADDRESS", shown="off"),
    ),
    "limits on a request": (
        Option("limit_request_line", ("--limit-request-line",), _count(0), _L.line,
               "bytes of its first line; 0: what the whole head may have", metavar="BYTES"),
        Option("limit_request_fields", ("--limit-request-fields",), _count(0), _L.fields,
               "header fields; 0: as many as the head can hold", metavar="N"),
        Option("limit_request_field_size", ("--limit-request-field_size",
               "--limit-request-field-size"), _count(0), _L.field_size,
               "bytes of one of them; 0: what the whole head may have", metavar="BYTES"),
        Option("limit_request_body", ("--limit-request-body",), values.size, _L.body,
               "bytes of its body; 0: any number", metavar="SIZE"),
        Option("websocket_max_message_size", ("--websocket-max-message-size",), values.size,
               _L.message, "bytes of one WebSocket message, inflated; 0: any number",
               metavar="SIZE"),
        Option("websocket_max_memory", ("--websocket-max-memory",), values.size, _L.messages,
               "bytes of such messages one worker holds for its clients; 0: any number",
               metavar="SIZE"),
    ),
    "slow clients": (
        Option("worker_buffer_memory", ("--worker-buffer-memory",), values.size,
               _C.worker_buffer_memory, "held in memory by one worker for clients slower than it: "
               "bodies that come, responses they have not taken", metavar="SIZE", shown="64M"),
        Option("worker_buffer_files", ("--worker-buffer-files",), values.size,
               _C.worker_buffer_files, "the same in temporary files, beyond that", metavar="SIZE",
               shown="1G"),
        Option("tmp_upload_dir", ("--tmp-upload-dir",), values.text, _C.tmp_upload_dir,
               "the directory of these files", metavar="DIR", shown="the system's"),
    ),
    "logs": (
        Option("accesslog", ("--access-logfile",), values.text, _C.access_log,
               "a line per request; - is stdout", metavar="FILE", shown="off"),
        Option("access_log_format", ("--access-logformat",), values.access_format,
               _C.access_format, "of these lines, with gunicorn's %(h)s and so on",
               metavar="FORMAT", shown="the combined format"),
        Option("errorlog", ("--error-logfile", "--log-file"), values.text, _C.error_log,
               "all else; - is stderr", metavar="FILE"),
        Option("loglevel", ("--log-level",), values.level, _C.log_level,
               "debug, info, warning, error or critical", metavar="LEVEL"),
        Option("capture_output", ("--capture-output",), values.switch, _C.capture_output,
               "what the app prints goes to the error log's file", "true"),
    ),
    "the processes": (
        Option("user", ("-u", "--user"), values.user, _C.user,
               "workers run as this user, by name or number", metavar="USER", shown="unchanged"),
        Option("group", ("-g", "--group"), values.group, _C.group, "and in this group",
               metavar="GROUP", shown="the user's"),
        Option("umask", ("-m", "--umask"), values.umask, _C.umask,
               "of the workers and of unix sockets, such as 022", metavar="MASK",
               shown="unchanged; unix sockets: 0"),
        Option("pidfile", ("-p", "--pid"), values.text, _C.pid_file,
               "write the master's pid here", metavar="FILE", shown="none"),
        Option("proc_name", ("-n", "--name"), values.text, _C.proc_name,
               "what ps shows beside our name", metavar="NAME", shown="the target"),
    ),
    "measurement": (
        Option("events_fd", ("--events-fd",), _count(0), _C.events_fd,
               "write events as JSON lines to this descriptor", metavar="FD", shown="off"),
        Option("telemetry", ("--telemetry",), values.text, _C.telemetry,
               "write a ring of request records per worker", metavar="DIR", shown="off"),
        Option("probes", ("--probes",), values.switch, _C.probes,
               "time database and outbound calls", "true"),
    ),
}  # fmt: skip

OPTIONS = {option.name: option for group in GROUPS.values() for option in group}

_TLS = "encryption is not offered here: let a proxy in front do it"

# What gunicorn offers and we do not: name -> (its flags, whether they take a value, its default).
# A value that is gunicorn's own default asks for nothing.
FOREIGN: dict[str, tuple[tuple[str, ...], bool, Any]] = {
    "asgi_disconnect_grace_period": (("--asgi-disconnect-grace-period",), True, 3),
    "asgi_lifespan": (("--asgi-lifespan",), True, "auto"),
    "asgi_loop": (("--asgi-loop",), True, "auto"),
    "ca_certs": (("--ca-certs",), True, None),
    "casefold_http_method": (("--casefold-http-method",), False, False),
    "cert_reqs": (("--cert-reqs",), True, 0),
    "certfile": (("--certfile",), True, None),
    "ciphers": (("--ciphers",), True, None),
    "control_socket": (("--control-socket",), True, None),
    "control_socket_disable": (("--no-control-socket",), False, True),
    "control_socket_mode": (("--control-socket-mode",), True, 0o600),
    "daemon": (("-D", "--daemon"), False, False),
    "dirty_apps": (("--dirty-app",), True, []),
    "dirty_graceful_timeout": (("--dirty-graceful-timeout",), True, 30),
    "dirty_post_fork": ((), False, None),
    "dirty_threads": (("--dirty-threads",), True, 1),
    "dirty_timeout": (("--dirty-timeout",), True, 300),
    "dirty_worker_exit": ((), False, None),
    "dirty_worker_init": ((), False, None),
    "dirty_workers": (("--dirty-workers",), True, 0),
    "disable_redirect_access_to_syslog": (("--disable-redirect-access-to-syslog",), False, False),
    "do_handshake_on_connect": (("--do-handshake-on-connect",), False, False),
    "dogstatsd_tags": (("--dogstatsd-tags",), True, ""),
    "enable_backlog_metric": (("--enable-backlog-metric",), False, False),
    "enable_stdio_inheritance": (("-R", "--enable-stdio-inheritance"), False, False),
    "forwarder_headers": (("--forwarder-headers",), True, "SCRIPT_NAME,PATH_INFO"),
    "header_map": (("--header-map",), True, "drop"),
    "http2_cleartext": (("--http2-cleartext",), True, "off"),
    "http2_initial_window_size": (("--http2-initial-window-size",), True, 65535),
    "http2_max_concurrent_streams": (("--http2-max-concurrent-streams",), True, 100),
    "http2_max_frame_size": (("--http2-max-frame-size",), True, 16384),
    "http2_max_header_list_size": (("--http2-max-header-list-size",), True, 65536),
    "http_parser": (("--http-parser",), True, "auto"),
    "http_protocols": (("--http-protocols",), True, "h1"),
    "initgroups": (("--initgroups",), False, True),  # always so
    "keyfile": (("--keyfile",), True, None),
    "logconfig": (("--log-config",), True, None),
    "logconfig_dict": ((), False, {}),
    "logconfig_json": (("--log-config-json",), True, None),
    "logger_class": (("--logger-class",), True, "gunicorn.glogging.Logger"),
    "on_dirty_starting": ((), False, None),
    "paste": (("--paste", "--paster"), True, None),
    "permit_obsolete_folding": (("--permit-obsolete-folding",), False, False),
    "permit_unconventional_http_method": (("--permit-unconventional-http-method",), False, False),
    "permit_unconventional_http_version": (
        ("--permit-unconventional-http-version",), False, False),
    "protocol": (("--protocol",), True, "http"),
    "raw_paste_global_conf": (("--paste-global",), True, []),
    "reload": (("--reload",), False, False),
    "reload_engine": (("--reload-engine",), True, "auto"),
    "reload_extra_files": (("--reload-extra-file",), True, []),
    "root_path": (("--root-path",), True, ""),
    "secure_scheme_headers": ((), False, {
        "X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}),
    "sendfile": (("--no-sendfile",), False, True),
    "spew": (("--spew",), False, False),
    "ssl_context": ((), False, None),
    "ssl_version": (("--ssl-version",), True, 2),
    "statsd_host": (("--statsd-host",), True, None),
    "statsd_prefix": (("--statsd-prefix",), True, ""),
    "strip_header_spaces": (("--strip-header-spaces",), False, False),
    "suppress_ragged_eofs": (("--suppress-ragged-eofs",), False, True),
    "syslog": (("--log-syslog",), False, False),
    "syslog_addr": (("--log-syslog-to",), True, None),
    "syslog_facility": (("--log-syslog-facility",), True, "user"),
    "syslog_prefix": (("--log-syslog-prefix",), True, None),
    "uwsgi_allow_ips": (("--uwsgi-allow-from",), True, "127.0.0.1,::1"),
    "worker_tmp_dir": (("--worker-tmp-dir",), True, None),
}  # fmt: skip

# Of these the reason is said. To start without them would be to serve something else than asked.
REFUSED = {"certfile": _TLS, "keyfile": _TLS, "ssl_context": _TLS}

# Nothing is missing without these, and the reason is worth a word.
NEEDLESS = {
    "worker_tmp_dir": "heartbeats are in shared memory",
    "http_parser": "there is one parser",
    "control_socket": "there is none",
    "control_socket_mode": "there is no control socket",
    "control_socket_disable": "there is none",
    "enable_stdio_inheritance": "nothing is a daemon here",
    "initgroups": "always so",
}


def asks(name: str, value: Any) -> bool:
    """Return whether a setting of gunicorn's that we do not have asks for anything."""
    default = FOREIGN[name][2]
    return str(value) != str(default) and bool(value or default) and value is not None
