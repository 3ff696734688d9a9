"""Who is believed, and what about: tables of fields and what they mean."""

from __future__ import annotations

import pytest

from pretune.server.http11.forwarded import Trust, client_of, scheme_of
from pretune.server.http11.refused import Refused


@pytest.mark.parametrize(
    ("allowed", "host", "covered"),
    [
        ("127.0.0.1,::1", "127.0.0.1", True),
        ("127.0.0.1, ::1", "::1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("0.0.0.0/0", "11.0.0.1", True),
        ("0.0.0.0/0", "::1", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "fe80::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("FD00:0::1", "fd00::1", True),
        ("*", "1.2.3.4", True),
        ("10.0.0.1,*", "nonsense", True),
        ("10.0.0.1", "nonsense", False),
        ("10.0.0.1", "10.0.0.1\0", False),
        ("", "127.0.0.1", False),
        ("", "", True),  # a unix socket
    ],
)
def test_whom_a_list_covers(allowed, host, covered):
    trust = Trust(allowed)
    assert trust.covers(host) is covered
    assert trust.covers(host) is covered  # remembered


@pytest.mark.parametrize(
    "allowed", ["localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/-1", "::/129", "1"]
)
def test_a_list_that_cannot_be_meant_is_an_error(allowed):
    with pytest.raises(ValueError, match=r"10|::|localhost|'1'"):
        Trust(allowed)


def test_what_is_remembered_of_peers_is_bounded():
    trust = Trust("10.0.0.0/8")
    for n in range(1000):
        trust.covers(f"10.0.{n // 250}.{n % 250}")
    assert len(trust._known) <= 256


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ({}, "http"),
        ({"PROTO": "https"}, "https"),
        ({"PROTO": "HTTPS"}, "https"),
        ({"PROTO": "http"}, "http"),
        ({"PROTO": "wss"}, "https"),
        ({"PROTO": "gopher"}, "http"),
        ({"PROTO": "https, https"}, "https"),
        ({"PROTO": "https,http"}, "http"),
        ({"PROTO": ""}, "http"),
        ({"SSL": "on"}, "https"),
        ({"SSL": "off"}, "http"),
        ({"PROTOCOL": "ssl"}, "https"),
        ({"PROTO": "https", "SSL": "on", "PROTOCOL": "ssl"}, "https"),
        ({"PROTO": "https", "SSL": "off"}, None),
        ({"PROTO": "http", "PROTOCOL": "ssl"}, None),
    ],
)
def test_scheme(fields, scheme):
    fields = {f"HTTP_X_FORWARDED_{key}": value for key, value in fields.items()}
    assert scheme_of(fields, trusted=False) == "http"
    if scheme is None:
        with pytest.raises(Refused):
            scheme_of(fields, trusted=True)
    else:
        assert scheme_of(fields, trusted=True) == scheme


PEER = ("127.0.0.1", 5000)


@pytest.mark.parametrize(
    ("said", "client"),
    [
        (None, PEER),
        ("", PEER),
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("1.2.3.4:80", ("1.2.3.4", 80)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("6.6.6.6, 1.2.3.4", ("1.2.3.4", 0)),
        ("6.6.6.6, 1.2.3.4, 10.0.0.7", ("1.2.3.4", 0)),
        ("10.0.0.8, 10.0.0.7", ("10.0.0.8", 0)),
        ("6.6.6.6, unknown", PEER),
        ("6.6.6.6, <script>, 10.0.0.7", PEER),
        ("1.2.3.4,", PEER),
        (",".join(["10.0.0.1"] * 500), PEER),
    ],
)
def test_client(said, client):
    trust = Trust("127.0.0.1,10.0.0.0/8")
    fields = {} if said is None else {"HTTP_X_FORWARDED_FOR": said}
    assert client_of(fields, PEER, trust) == client
    assert client_of(fields, ("9.9.9.9", 1), trust) == ("9.9.9.9", 1)


def test_client_if_everyone_is_believed_or_the_peer_is_a_unix_socket():
    fields = {"HTTP_X_FORWARDED_FOR": "6.6.6.6, 1.2.3.4"}
    assert client_of(fields, PEER, Trust("*")) == ("6.6.6.6", 0)
    assert client_of(fields, None, Trust("127.0.0.1")) == ("1.2.3.4", 0)
    assert client_of({}, None, Trust("127.0.0.1")) is None
