"""An answer judged: a page that can be part of a load, or the reason why it cannot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from pretune.loadtests.asking import Answer

# Words in the path of a redirect that say it asks for a login; more than a login page's own path.
_ASKS_LOGIN = re.compile(
    r"(^|[/_-])(log-?_?in|sign-?_?in|sso|oauth2?|auth)([/_-]|$)", re.IGNORECASE
)
_LOGIN_PATH = re.compile(
    r"/(log[-_]?in|log[-_]?out|sign[-_]?in|sign[-_]?up|sign[-_]?out|register|"
    r"authenticate|((forgot(ten)?|lost|reset|recover|change)[-_]?)?"
    r"password([-_](reset|change|forgot|recover|remind)\w*([-_]\w+)?)?)"
    r"(/(done|complete|sent))?(/|\.\w+)?(\?|$)",
    re.IGNORECASE,
)
_ADMIN_PATH = re.compile(r"^/(\w+[-_])?admin(/|$|\?)", re.IGNORECASE)
_PASSWORD_FIELD = re.compile(rb"<input\b[^>]{0,300}\btype\s*=\s*[\"\']?password", re.IGNORECASE)
_LINK = re.compile(rb"<a\b[^>]{0,300}\bhref\s*=", re.IGNORECASE)
FEW_LINKS = 6  # a page of its own has more; a form that asks for a password seldom has

_STATIC_TYPES = (
    "text/css", "text/javascript", "application/javascript", "application/x-javascript", "font/",
    "image/x-icon", "image/vnd.microsoft.icon", "application/manifest+json", "application/wasm",
    "application/font",
)  # fmt: skip
_STATIC_PATH = re.compile(
    r"\.(css|js|mjs|map|woff2?|ttf|eot|ico|svg|png|jpe?g|gif|webp|avif|webmanifest|wasm)$"
    r"|/robots\.txt$|/sitemap[^/]*\.xml(\.gz)?$",
    re.IGNORECASE,
)
_DOWNLOAD_TYPES = (
    "image/", "audio/", "video/", "application/octet-stream", "application/zip",
    "application/gzip", "application/x-", "application/pdf", "application/vnd.ms",
    "application/vnd.openxmlformats", "application/epub",
)  # fmt: skip
_STATUSES = {
    405: "does not answer GET",
    406: "answers 406: give the Accept that it needs in a workload file's [headers]",
    429: "limits the rate of requests (answers 429)",
}


def is_success(answer: Answer) -> bool:
    """True of a complete answer that a load can be made of."""
    return not answer.failure and (200 <= answer.status < 300 or answer.status == 304)


def is_broken(answer: Answer) -> bool:
    """True where the application failed, rather than refused or redirected."""
    return bool(answer.failure) or answer.status >= 500


def is_login_page(path: str, answer: Answer) -> bool:
    """True of a page that asks for a password and offers little else."""
    if _LOGIN_PATH.search(path):
        return True
    if "html" not in answer.content_type or not _PASSWORD_FIELD.search(answer.body):
        return False
    return _ADMIN_PATH.search(path) is not None or len(_LINK.findall(answer.body)) < FEW_LINKS


def is_static(path: str, answer: Answer) -> bool:
    """True of what a web server in front should send: style sheets, scripts, icons."""
    kind = answer.content_type.lower()
    if kind.startswith(_STATIC_TYPES):
        return True
    return bool(_STATIC_PATH.search(path.partition("?")[0])) and "html" not in kind


def is_download(answer: Answer) -> bool:
    """True of a file that is shown or saved, not a page: an image, an archive, an attachment."""
    return answer.attachment or answer.content_type.lower().startswith(_DOWNLOAD_TYPES)


def leads_to_login(location: str) -> bool:
    """True of a redirect that asks for a login."""
    try:
        target = urlsplit(location)
    except ValueError:
        return False
    return bool(_ASKS_LOGIN.search(target.path)) or "next=" in target.query


def rejection(
    answer: Answer,
    path: str,
    hosts: frozenset[str],
    query: Sequence[str] = (),
    headers: Sequence[str] = (),
) -> str:
    """The reason why a path cannot be part of a load, or "" when it can.

    ``query`` and ``headers`` name what the route cannot do without and was not sent.
    """
    status = answer.status
    if answer.failure:
        return answer.failure
    if is_success(answer):
        return ""
    if 300 <= status < 400:
        return _describe_redirect(answer.location, hosts)
    if headers and status in (400, 401, 403, 422):
        names = " and ".join(headers)
        return f"needs the header {names}: give it in a workload file's [headers]"
    if query and status in (400, 422):
        example = path + "?" + "&".join(f"{name}=..." for name in query)
        return f"needs the query parameter {' and '.join(query)}; give it with --path '{example}'"
    if status in (401, 403):
        return f"needs a login (answers {status})"
    return _STATUSES.get(status, f"answers {status}")


def _describe_redirect(location: str, hosts: frozenset[str]) -> str:
    try:
        target = urlsplit(location)
    except ValueError:
        return "redirects to an address that cannot be read"
    if target.hostname and target.hostname not in {_without_port(name) for name in hosts}:
        return f"redirects to another host ({target.netloc})"
    if leads_to_login(location):
        return "redirects to a login page"
    if target.scheme == "https":
        return "redirects to https (name the header that says so with a workload file's [headers])"
    return f"redirects to {target.path or '/'}"


def _without_port(name: str) -> str:
    return urlsplit(f"//{name}").hostname or name
