"""The grammar of each server's command line: which options take a value, which are settings.

What an option means stands in ``server.field``; here is only what its parser does with it. The
tables are held against the parsers of the installed servers in tests/advisor/deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pretune.server.adapters.catalogue import SERVERS
from pretune.server.config import options
from pretune.server.settings import Settings

SETTINGS = tuple(Settings.__dataclass_fields__)


@dataclass(frozen=True)
class Grammar:
    """``valued``: option -> the setting it is by gunicorn's name, "" where it is none of them.

    ``switches``: options without a value -> (setting, what it says), None where it is none.
    ``read``: a setting's text to its value; raises ValueError. ``defaults``: what the server does
    when it is told nothing; a setting that is missing is not there, or has no default.
    ``variables``: of the environment, to settings, the weakest first. ``application`` and
    ``config``: options that name the app and a file of settings.
    """

    server: str
    valued: Mapping[str, str]
    switches: Mapping[str, tuple[str, Any] | None]
    defaults: Mapping[str, Any]
    read: Callable[[str, str], Any]
    variables: Mapping[str, str] = field(default_factory=dict)
    application: frozenset[str] = frozenset()
    config: frozenset[str] = frozenset()
    abbreviates: bool = False  # a long option may be cut where it stays the only one
    nothing: tuple[str, ...] = ()  # beginnings of options that say nothing of how it serves

    def has_nothing(self, flag: str) -> bool:
        return flag.startswith(tuple(f"--{beginning}" for beginning in self.nothing))


def _number(setting: str, text: str) -> Any:
    """As the servers of the field read them: whole numbers, times as 30 or 30.5."""
    if setting == "preload_app":
        return _lazy(text)
    if setting == "worker_class":
        return "gevent"  # of greenlets, by whatever name: how many stands there
    number = float(text) if setting in _TIMES else int(text)
    if not 0 <= number < 1 << 40:
        raise ValueError(f"{text} is out of range")
    return number


_TIMES = ("timeout", "graceful_timeout", "keepalive")


def _lazy(text: str) -> bool:
    """uWSGI's lazy-apps says the opposite of preload_app."""
    return text.strip().lower() in ("false", "0", "no", "off")


def _limit_concurrency(setting: str, text: str) -> Any:
    """uvicorn refuses the limit itself: one connection fewer is served."""
    number = _number(setting, text)
    return max(1, number - 1) if setting == "worker_connections" else number


def _gunicorn(setting: str, text: str) -> Any:
    return options.OPTIONS[setting].convert(text)


def _of_gunicorn() -> Grammar:
    valued: dict[str, str] = {"-c": "", "--config": ""}
    switches: dict[str, tuple[str, Any] | None] = dict.fromkeys(
        ("-h", "--help", "-v", "--version", "--check-config", "--print-config")
    )
    for name, option in options.OPTIONS.items():
        mine = name if name in SETTINGS else ""
        for flag in option.flags:
            if option.kind == "true":
                switches[flag] = (mine, True) if mine else None
            else:
                valued[flag] = mine
    for flags, takes, _ in options.FOREIGN.values():
        for flag in flags:
            if takes:
                valued[flag] = ""
            else:
                switches[flag] = None
    # what only the embedded server has
    for name in ("boot_timeout", "max_worker_memory", "max_worker_age", "metrics", "events_fd"):
        for flag in options.OPTIONS[name].flags:
            valued.pop(flag)
    for name in ("telemetry", "probes"):
        for flag in options.OPTIONS[name].flags:
            valued.pop(flag, None)
            switches.pop(flag, None)
    defaults = {name: getattr(Settings(), name) for name in SETTINGS}
    return Grammar(
        "gunicorn",
        valued,
        switches,
        {**defaults, "worker_class": "sync", "keepalive": 2.0},
        _gunicorn,
        variables={"WEB_CONCURRENCY": "workers"},
        config=frozenset({"-c", "--config"}),
        abbreviates=True,
    )


def _of_field(
    name: str,
    valued: str,
    switches: str,
    defaults: Mapping[str, Any],
    *,
    short: Mapping[str, str] | None = None,
    overrides: Mapping[str, tuple[str, Any]] | None = None,
    read: Callable[[str, str], Any] = _number,
    variables: Mapping[str, str] | None = None,
    prefix: str = "",
    application: str = "",
    config: str = "",
    abbreviates: bool = False,
    nothing: str = "",
) -> Grammar:
    """``valued`` and ``switches``: names of all other options. ``prefix``: of the variables that
    each option can be given by."""
    settings = SERVERS[name].settings.items()
    mine = {f"--{m.option}": setting for setting, m in settings if m.option}
    flags = dict.fromkeys((_dashed(word) for word in valued.split()), "")
    by_variable = dict(variables or {})
    if prefix:
        by_variable |= {
            prefix + flag[2:].replace("-", "_").upper(): setting for flag, setting in mine.items()
        }
    without = dict.fromkeys(_dashed(word) for word in switches.split())
    flags |= {flag: setting for flag, setting in mine.items() if flag not in (overrides or {})}
    return Grammar(
        name,
        {**flags, **(short or {})},
        {**without, **(overrides or {})},
        defaults,
        read,
        by_variable,
        frozenset(map(_dashed, application.split())),
        frozenset(map(_dashed, config.split())),
        abbreviates,
        tuple(nothing.split()),
    )


def _dashed(word: str) -> str:
    return f"-{word}" if len(word) == 1 else f"--{word}"


_UVICORN = _of_field(
    "uvicorn",
    "host port uds fd reload-dir reload-include reload-exclude reload-delay loop http ws "
    "ws-max-size ws-max-queue ws-ping-interval ws-ping-timeout ws-per-message-deflate lifespan "
    "interface env-file log-config log-level forwarded-allow-ips root-path ssl-keyfile "
    "ssl-certfile ssl-keyfile-password ssl-version ssl-cert-reqs ssl-ca-certs ssl-ciphers header "
    "app-dir h11-max-incomplete-event-size app",
    "reload http2 access-log no-access-log use-colors no-use-colors proxy-headers "
    "no-proxy-headers server-header no-server-header date-header no-date-header version "
    "reset-contextvars factory help",
    # graceful_timeout: it waits for ever
    {"workers": 1, "timeout": 5.0, "graceful_timeout": 0.0, "keepalive": 5.0, "max_requests": 0,
     "max_requests_jitter": 0, "backlog": 2048},
    read=_limit_concurrency,
    variables={"WEB_CONCURRENCY": "workers"},
    prefix="UVICORN_",
)  # fmt: skip
_HYPERCORN = _of_field(
    "hypercorn",
    "access-log access-logfile access-logformat b bind ca-certs certfile cert-reqs ciphers c "
    "config error-log error-logfile log-file read-timeout g group k worker-class keyfile "
    "keyfile-password insecure-bind log-config log-level p pid quic-bind root-path server-name "
    "statsd-host statsd-prefix m umask u user verify-mode websocket-ping-interval",
    "h help D daemon debug reload",
    {"workers": 1, "graceful_timeout": 3.0, "keepalive": 5.0, "max_requests": 0,
     "max_requests_jitter": 0, "backlog": 100},
    short={"-w": "workers"},
    config="c config",
    abbreviates=True,
)  # fmt: skip
_WAITRESS = _of_field(
    "waitress",
    "host port listen trusted-proxy trusted-proxy-count trusted-proxy-headers url-scheme "
    "url-prefix recv-bytes send-bytes outbuf-overflow outbuf-high-watermark inbuf-overflow "
    "cleanup-interval max-request-header-size max-request-body-size ident asyncore-loop-timeout "
    "unix-socket unix-socket-perms sockets channel-request-lookahead server-name app",
    "help call ipv4 no-ipv4 ipv6 no-ipv6 log-untrusted-proxy-headers "
    "no-log-untrusted-proxy-headers clear-untrusted-proxy-headers "
    "no-clear-untrusted-proxy-headers log-socket-errors no-log-socket-errors expose-tracebacks "
    "no-expose-tracebacks asyncore-use-poll no-asyncore-use-poll",
    {"threads": 4, "keepalive": 120.0, "backlog": 1024, "worker_connections": 100},
    application="app",
    abbreviates=True,
)
_GRANIAN = _of_field(
    "granian",
    "host port uds uds-permissions interface http blocking-threads-idle-timeout runtime-threads "
    "runtime-blocking-threads runtime-mode loop task-impl http1-buffer-size "
    "http1-header-read-timeout http2-initial-connection-window-size "
    "http2-initial-stream-window-size http2-keep-alive-interval http2-keep-alive-timeout "
    "http2-max-concurrent-streams http2-max-frame-size http2-max-headers-size "
    "http2-max-send-buffer-size log-level log-config access-log-fmt ssl-certificate ssl-keyfile "
    "ssl-keyfile-password ssl-protocol-min ssl-ca ssl-crl url-path-prefix respawn-interval "
    "rss-sample-interval rss-samples workers-lifetime workers-max-rss working-dir env-files "
    "static-path-route static-path-mount static-path-dir-to-file static-path-expires "
    "metrics-scrape-interval metrics-address metrics-port reload-paths reload-ignore-dirs "
    "reload-ignore-patterns reload-ignore-paths reload-tick process-name pid-file",
    "ws no-ws http1-keep-alive no-http1-keep-alive http1-pipeline-flush no-http1-pipeline-flush "
    "http2-adaptive-window no-http2-adaptive-window log no-log access-log no-access-log "
    "ssl-client-verify no-ssl-client-verify respawn-failed-workers no-respawn-failed-workers "
    "factory no-factory metrics no-metrics reload no-reload reload-ignore-worker-failure "
    "no-reload-ignore-worker-failure version help",
    {"workers": 1, "graceful_timeout": 0.0, "backlog": 1024},
    prefix="GRANIAN_",
)
_UWSGI = _of_field(
    "uwsgi",
    "socket uwsgi-socket http-socket http11-socket http https fastcgi-socket protocol s callable "
    "module wsgi w wsgi-file file mount ini yaml json xml y j x config inherit include set S chdir "
    "chdir2 home virtualenv venv H pythonpath pyargv env plugin plugins uid gid pidfile pidfile2 "
    "daemonize d daemonize2 logto logto2 log-format logformat logger log-encoder stats "
    "chmod-socket C chown-socket buffer-size b post-buffering static-map static-index "
    "static-expires static-expires-uri check-static touch-reload touch-chain-reload reload-on-rss "
    "reload-on-as evil-reload-on-rss min-worker-lifetime max-worker-lifetime reload-mercy "
    "socket-timeout z http-timeout so-send-timeout socket-send-timeout thread-stacksize "
    "offload-threads cpu-affinity mule mules farm spooler Q spooler-processes cron cron2 "
    "attach-daemon attach-daemon2 smart-attach-daemon import shared-import procname "
    "procname-prefix procname-append procname-prefix-spaced hook-master-start hook-pre-app "
    "hook-post-app add-header route route-uri route-host harakiri-graceful-timeout "
    "mule-reload-mercy cache2 locks sharedarea exec-asap exec-pre-app exec-as-root for-readline "
    "py-autoreload master-fifo binary-path umask eval limit-post max-fd lock-engine ftok",
    "master M need-app enable-threads T disable-logging L die-on-term vacuum single-interpreter i "
    "strict thunder-lock auto-procname lazy-apps lazy log-master log-date log-4xx log-5xx log-slow "
    "log-x-forwarded-for memory-report m ignore-sigpipe ignore-write-errors "
    "disable-write-exception show-config honour-stdin manage-script-name catch-exceptions "
    "http-keepalive http-auto-chunked http-raw-body so-keepalive static-gzip-all no-site "
    "harakiri-verbose no-orphans skip-atexit-teardown wsgi-env-behavior master-as-root reuse-port "
    "py-call-osafterfork disable-sendfile close-on-exec",
    {"workers": 1, "threads": 1, "timeout": 0.0, "graceful_timeout": 60.0, "max_requests": 0,
     "max_requests_jitter": 0, "preload_app": True, "backlog": 100},
    short={"-p": "workers", "--workers": "workers", "-R": "max_requests", "-t": "timeout",
           "-l": "backlog", "--gevent": "worker_class", "--async": "worker_class",
           "--asyncio": "worker_class"},
    overrides={"--lazy-apps": ("preload_app", False), "--lazy": ("preload_app", False)},
    prefix="UWSGI_",
    application="module wsgi w wsgi-file file",
    config="ini",
    abbreviates=True,
    # of its 900 options: files, logs, statistics, hooks, helpers
    nothing="static- check-static log- req-log http- https- http2- ssl- stats- hook- route- "
    "spooler- mule- cache touch- attach- smart- cron carbon metric alarm websocket offload- wsgi- "
    "py- python- proc exec- snmp subscri fastrouter rawrouter plugin- add- del- collect- "
    "print memory- daemon- emperor-on vassal- queue legion rbtimer ksm master- uwsgi- xml- ini-",
)  # fmt: skip
_MOD_WSGI = _of_field(
    "mod_wsgi",
    "access-log-format access-log-name application-type callable-object connect-timeout "
    "cpu-time-limit daemon-backlog deadlock-timeout directory-index document-root entry-point "
    "error-document error-log-format error-log-name eviction-timeout group header-timeout host "
    "https-port inactivity-timeout include-file initial-workers interrupt-timeout "
    "limit-request-body locale log-directory log-level max-clients maximum-spare-workers "
    "minimum-spare-workers modules-directory mount-point passenv port process-name python-path "
    "queue-timeout restart-interval server-alias server-mpm server-name server-root setenv "
    "shutdown-timeout socket-prefix socket-timeout ssl-certificate ssl-certificate-file "
    "ssl-certificate-key-file startup-timeout switch-interval trust-proxy trust-proxy-header "
    "url-alias user working-directory",
    "access-log allow-localhost chunked-request compress-responses debug-mode directory-listing "
    "disable-reloading enable-sendfile error-override http2 https-only isatty "
    "log-to-terminal reload-on-changes rotate-logs server-metrics server-status setup-only "
    "ssl-environment startup-log",
    {"workers": 1, "threads": 5, "timeout": 60.0, "graceful_timeout": 15.0, "keepalive": 2.0,
     "max_requests": 0, "backlog": 500},
    abbreviates=True,
)  # fmt: skip

GRAMMARS: Mapping[str, Grammar] = {
    grammar.server: grammar
    for grammar in (
        _of_gunicorn(), _UVICORN, _HYPERCORN, _WAITRESS, _GRANIAN, _UWSGI, _MOD_WSGI,
    )
}  # fmt: skip
