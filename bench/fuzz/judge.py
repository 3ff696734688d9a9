"""Which disagreements between parsers are meant. Everything else is a finding.

What a front server and we must agree on is framing: which requests there are, and where each body
ends. So a request that both see must be the same, byte for byte; and where one refuses and the
other goes on, the reason must stand in a table below. The reasons for refusing are explained in
docs/SERVER.md.
"""

from __future__ import annotations

import re

from parsers import CLOSED, OPEN, REFUSED, UPGRADED, WAITS, Result

# Our refusals. Every one is deliberate; one that is not here is a finding.
REFUSALS = {
    "empty lines instead of a request": "two are skipped",
    "the request line is too long": "limit",
    "the header fields are too long": "limit",
    "too many header fields": "limit",
    "a header field is too long": "limit",
    "malformed request line": "one space each, a method that begins with a letter, HTTP/d.d",
    "malformed request target": "the four forms, no fragment, no userinfo, ASCII",
    "only HTTP/1.0 and HTTP/1.1 are served": "505",
    "malformed header field": "tokens as names, no folding, no control characters",
    "HOST stands twice": "RFC 9112 section 3.2",
    "CONTENT-LENGTH stands twice": "also when both say the same",
    "CONTENT-TYPE stands twice": "apps and gateways pick different ones",
    "TRANSFER-ENCODING stands twice": "smuggling",
    "no Host": "RFC 9112 section 3.2",
    "malformed Host": "RFC 9112 section 3.2",
    "Content-Length beside Transfer-Encoding": "smuggling",
    "Transfer-Encoding in HTTP/1.0": "smuggling",
    "transfer coding": "chunked only",
    "malformed Content-Length": "digits, once",
    "the body is too long": "more than 18 digits",
    "cannot meet this expectation": "417",
    "CONNECT is not implemented": "501",
    "a line ends without CRLF": "bare CR or LF",
    "malformed chunk size": "RFC 9112 section 7.1",
    "the chunk extensions are too long": "limit",
    "a chunk is longer than its size": "no CRLF where it must be",
    "malformed trailer field": "as header fields, and none that frames",
    "the trailers are too long": "limit",
    "a line of the chunked body is too long": "limit",
}

# Where a parser refuses (or ends) what we take: its words, then why we do not follow.
STRICTER = {
    "h11": (
        (
            r"illegal chunk header: .*[0-9A-Fa-f][ \\t]+;",
            "bad whitespace before a semicolon must be taken: RFC 9112 section 7.1.1",
        ),
        (
            r"no request line received",
            "an empty line before a request should be skipped: RFC 9112 section 2.2",
        ),
    ),
    "httptools": (
        (
            r"Invalid character in chunk (size|extensions)",
            "bad whitespace before a semicolon, as above",
        ),
        (
            r"invalid `Transfer-Encoding`",
            "a tab after the value is whitespace like any: RFC 9110 section 5.6.3",
        ),
        (
            r"Invalid method (encountered|for HTTP)|Expected space after method",
            "it knows a list of methods; to us a method is a token",
        ),
    ),
}


def disagreement(ours: Result, theirs: Result, oracle: str) -> tuple[bool, str]:
    """Whether it is meant, and what it is; ``""`` if they agree."""
    if theirs.end == UPGRADED:
        before = len(theirs.requests) - 1  # its last one has lost its body
        if ours.requests[:before] == theirs.requests[:before]:
            return True, "it takes what follows an Upgrade or CONNECT for another protocol"
    both = min(len(ours.requests), len(theirs.requests))
    if ours.requests[:both] != theirs.requests[:both]:
        return False, "they see different requests"
    if ours.end == REFUSED:
        return ours.why in REFUSALS, "" if theirs.end == REFUSED else f"we refuse: {ours.why}"
    if ours.end == CLOSED and len(ours.requests) == both:
        if theirs.end in (CLOSED, REFUSED) and len(theirs.requests) == both:
            return True, ""  # nothing is read after a close; what it says of the rest is its own
        return oracle == "httptools", "it goes on where we close"
    if len(theirs.requests) > both:
        return False, f"it sees more requests; we are {ours.end}"
    if theirs.end == REFUSED:
        if ours.end == WAITS and len(ours.requests) == both:
            return True, "it refuses what we have not seen whole"
        for words, why in STRICTER[oracle]:
            if re.search(words, theirs.why):
                return True, f"it refuses, {why}"
        return False, f"it refuses what we take: {theirs.why}"
    if oracle == "h11" and theirs.end == CLOSED:
        return True, "it ends every HTTP/1.0 connection"
    if len(ours.requests) > both:
        return False, "we see more requests"
    if {ours.end, theirs.end} in ({OPEN, WAITS}, {OPEN}, {WAITS}, {CLOSED}):
        return True, ""
    return False, f"we are {ours.end}, it is {theirs.end}"
