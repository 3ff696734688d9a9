# ruff: noqa: E501 (a table: one case, one line)
"""Request smuggling: the HTTP Garden's trophies, and the mutations of smuggler and of Burp's scanner.

smuggler (defparam) and HTTP Request Smuggler (PortSwigger) hide a Transfer-Encoding or a
Content-Length from one of two servers. Here each is sent with an honest Content-Length beside it:
whoever sees the hidden field must refuse, for two framings are one too many; whoever does not must
frame by the honest one, and then the next request must be found.
"""

from __future__ import annotations

from strictness import CLOSED, WAITS, Case, case

T, S, B = "http-garden", "smuggler", "http-request-smuggler"
H = "HTTP/1.1\nHost: a\n"
GET, POST = f"GET / {H}", f"POST / {H}"
CHUNKED = f"{POST}Transfer-Encoding: chunked\n\n"
EVIL = f"GET /evil {H}\n"

_GARDEN = [
    # -- servers
    case(T, "server 1, 22: an underscore in a size", f"{CHUNKED}0_2e\n\n{EVIL}0\n\n", 400),
    case(T, "server 2: NUL and CR in a value", f"{GET}X: v\0␍alue\n\n", 400),
    case(T, "server 3: a space after Content-Length", f"{GET}Content-Length : 34\n\n{EVIL}", 400),
    case(T, "server 4: a tab before the first name", "GET / HTTP/1.1\n\tContent-Length: 1\nHost: a\n\nX", 400),
    case(T, "server 5: version 1.32", "GET / HTTP/1.32\nHost: a\n\n", 400),
    case(T, "server 6: a method of punctuation", f'G=":<>(e),[T];?" /get {H}\n', 400),
    case(T, "server 7: ! as target", f"GET ! {H}\n", 400),
    case(T, "server 8: beyond ASCII in a name", f"{GET}\xefoo: bar\n\n", 400),
    case(T, "server 9: LF in the request line", "GET /␊HTTP/1.1\nHost: a\n\n", 400),
    case(T, "server 10: length of +1_0", f"{GET}Content-Length: +1_0\n\n0123456789", 400),
    case(T, "server 11, transducer 25: chunked twice", f"{POST}Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n1\nZ\n0\n\n", 400),
    case(T, "server 12: NBSP around chunked", f"{POST}Transfer-Encoding: \xa0chunked\xa0\n\n0\n\n", 501),
    case(T, "server 13: CR between fields", f"{GET}Visible: :/␍Smuggled: :)\n\n", 400),
    case(T, "server 14: any byte in a name", f"{GET}" + "".join(map(chr, (*range(9), 9, 11, 12, *range(14, 32)))) + ' "(),/;<=>?@[/]{}: b\n\n', 400),
    case(T, "server 15: CR in the version", "GET / HTTP/␍␍1.1\nHost: a\n\n", 400),
    case(T, "server 16, 38, transducer 5: an empty length", f"{GET}Content-Length: \n\n{EVIL}", 400),
    case(T, "server 17: an empty size", f"{CHUNKED}\n\n", 400),
    case(T, "server 18: an empty name", "GET / HTTP/1.1\n: ignored\nHost: a\n\n", 400),
    case(T, "server 19: LF LF after a colon", f"{GET}Useless:␊␊{EVIL}", 400),
    case(T, "server 20, transducer 6: NEL after a name", f"{GET}Content-Length\x85: 10\n\n0123456789", 400),
    case(T, "server 21, transducer 15, 18: ,chunked and a length", f"{GET}Transfer-Encoding: ,chunked\nContent-Length: 5\n\n0\n\n", 400),
    case(T, "transducer 9: ,chunked", f"{POST}Transfer-Encoding: ,chunked\n\n0\n\n", 501),
    case(T, "server 23: two lengths, the first larger", f"{GET}Content-Length: 1\nContent-Length: 0\n\nZ", 400),
    case(T, "server 24: a version beyond 32 bits", "GET / HTTP/4294967295.255\nHost: a\n\n", 400),
    case(T, "server 25: 0x before a size", f"{CHUNKED}0x1\nZ\n0\n\n", 400),
    case(T, "server 26: a negative length", f"{GET}Content-Length: -48\n\n", 400),
    case(T, "server 27: neither name nor value", f"{GET}:\nI: am chopped off\n\n", 400),
    case(T, "server 28: no colon", f"{GET}Content-Length 10\n\n0123456789", 400),
    case(T, "server 29: length of 1Z", f"{GET}Content-Length: 1Z\n\nZ", 400),
    case(T, "server 30: CR Z for the empty line", f"{GET}␍ZGET /evil: {H}\n", 400),
    case(T, "server 31: CR CR after a size", f"{CHUNKED}5␍␍;ABCD\n34\nE\n0\n\n{EVIL}", 400),
    case(T, "server 32: a length is decimal", f"{GET}Content-Length: 010\n\n0123456789", "GET / 0123456789"),
    case(T, "server 33, transducer 22: two lengths, the second larger", f"{GET}Content-Length: 0\nContent-Length: 31\n\n{EVIL}", 400),
    case(T, "server 34, transducer 10: CR in a value", f"{GET}Header: va␍lue\n\n", 400),
    case(T, "server 35: NUL in a value", f"{GET}Test: test\0MORE\nConnection: close\n\n", 400),
    case(T, "server 36: CR in an extension", f"{CHUNKED}1;a=b␍␍X\nZ\n0\n\n{EVIL}", 400),
    case(T, "server 37: a name on two lines", f"{POST}Transfer-\nEncoding: chunked\nContent-Length: 5\n\n0\n\n", 400),
    case(T, "server 39: a trailer where the end is expected", f"{CHUNKED}0\nX:POST / HTTP/1.1\n\n", "POST /"),
    case(T, "server 40: NUL as method", "\0 / HTTP/............0596.7407.\n\n", 400),
    case(T, "server 41: NEL and NBSP belong to a value", f"GET /login {H}User: \x85admin\xa0\n\n", "GET /login"),
    case(T, "server 42, transducer 11: an empty length and another", f"{GET}Content-Length: \nContent-Length: 43\n\n{EVIL}", 400),
    case(T, "server 43: NUL at the end of a value", f"{GET}Evil: evil\0\n\n", 400),
    case(T, "server 44: an unknown coding", f"{POST}Transfer-Encoding: blegh\n\n1\nZ\n0\n\n", 501),
    case(T, "server 45: rubbish after the last request", f"{GET}Connection: close\n\nInvalid\n\n", "GET /", CLOSED),
    case(T, "server 46: 0xff around chunked", f"{POST}Transfer-Encoding: \xffchunked\xff\n\n1\nZ\n0\n\n", 501),
    case(T, "server 46: 0xff around Host", "GET / HTTP/1.1\nHost: \xffa\xff\n\n", 400),
    case(T, "server 47: a broken chunk", f"{CHUNKED}INVALID!!!\n{EVIL}", 400),
    case(T, "server 48: pipelined after a length of 0", f"POST /0 {H}Content-Length: 0\nConnection:keep-alive\n\nPOST /1 {H}Content-Length: 2\n\nhiGET /2 {H}\n", "POST /0", "POST /1 hi", "GET /2"),
    # -- transducers
    case(T, "transducer 1: a length of 0x10", f"{POST}Content-Length: 0x10\n\nZ", 400),
    case(T, "transducer 2: sizes of letters", f"{CHUNKED}Z\nZZ\nZZZ\n\n", 400),
    case(T, "transducer 3: CR before the semicolon", f"{CHUNKED}2␍␍;a\n02\n41\n0\n\n{EVIL}", 400),
    case(T, "transducer 4: two spaces and a broken chunk", "POST /  HTTP/1.1\nTransfer-Encoding: chunked\nHost: a\n\n1␍0␊", 400),
    case(T, "transducer 7: words after a size", f"{CHUNKED}1these-are-never-checked\nZ\n0\n\n", 400),
    case(T, "transducer 12: NUL in Host", "GET / HTTP/1.1\nHost: a.example\0.b.example\n\n", 400),
    case(T, "transducer 13: LF after a chunk", f"{CHUNKED}a\n0123456789␊0\n\n", 400),
    case(T, "transducer 14: LF in a name", f"{GET}Te␊st: test\n\n", 400),
    case(T, "transducer 16: LF only", "GET / HTTP/1.1␊Host: a␊Connection: close␊␊", 400),
    case(T, "transducer 17: an empty line before the last chunk", f"{CHUNKED}5\nhello\n\n\n0\n\n", 400),
    case(T, "transducer 19: -0x0 as size", f"{CHUNKED}-0x0\n\n", 400),
    case(T, "transducer 20: no colon, and NUL", f"{GET}a:b\nc\0\n\n", 400),
    case(T, "transducer 21: a body with GET", f"{GET}Content-Length: 10\n\n1234567890", "GET / 1234567890"),
    case(T, "transducer 23: a length and chunked", f"{POST}Content-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n", 400),
    case(T, "transducer 24: blanks before a size", f"{CHUNKED}           0\n\n", 400),
    case(T, "other 3: a byte after a chunked body", f"{CHUNKED}0\n\n\0", "POST /", 400),
    case(T, "HTTP/2's preface", "PRI * HTTP/2.0\n\nSM\n\n", 505),
]  # fmt: skip


def _hidden(source: str, name: str, gadget: str, *want: str | int) -> Case:
    """A gadget beside an honest length of an empty chunked body."""
    text = f"{POST}{gadget}\nContent-Length: 5\n\n0\n\n"
    return case(source, name, text, *(want or (400,)))


FRAMED = "POST / 0\n\n"  # by the honest length

_SMUGGLER = [
    *(
        _hidden(S, f"{where} {byte:#04x}", gadget.replace("?", "␊" if byte == 10 else chr(byte)))
        for where, gadget in (
            ("after the colon", "Transfer-Encoding:?chunked"),
            ("before the colon", "Transfer-Encoding?: chunked"),
            ("before the name", "?Transfer-Encoding: chunked"),
            ("after the value", "Transfer-Encoding: chunked?"),
        )
        for byte in (*range(0x01, 0x20), *range(0x7F, 0x100))
    ),
    *(
        _hidden(S, name, *rest)
        for name, *rest in (
            ("nameprefix1", " Transfer-Encoding: chunked"),
            ("tabprefix1", "Transfer-Encoding:\tchunked"),
            ("tabprefix2", "Transfer-Encoding\t:\tchunked"),
            ("spacejoin1", "Transfer Encoding: chunked"),
            ("underjoin1", "Transfer_Encoding: chunked", FRAMED),
            ("smashed", "Transfer Encoding:chunked"),
            ("space1", "Transfer-Encoding : chunked"),
            ("valueprefix1", "Transfer-Encoding:  chunked"),
            ("vertprefix1", "Transfer-Encoding:\x0bchunked"),
            ("commaCow", "Transfer-Encoding: chunked, cow"),
            ("cowComma", "Transfer-Encoding: cow, chunked"),
            ("contentEnc", "Content-Encoding: chunked", FRAMED),
            ("linewrapped1", "Transfer-Encoding:␊ chunked"),
            ("quoted", 'Transfer-Encoding: "chunked"'),
            ("aposed", "Transfer-Encoding: 'chunked'"),
            ("lazygrep", "Transfer-Encoding: chunk"),
            ("sarcasm", "TrAnSFer-EnCODinG: cHuNkeD"),
            ("yelling", "TRANSFER-ENCODING: CHUNKED"),
            ("0dsuffix", "Transfer-Encoding: chunked␍"),
            ("tabsuffix", "Transfer-Encoding: chunked\t"),
            ("revdualchunk", "Transfer-Encoding: cow\nTransfer-Encoding: chunked"),
            ("0dspam", "Transfer␍-Encoding: chunked"),
            ("nested", "Transfer-Encoding: cow chunked bar"),
            ("spaceFF", "Transfer-Encoding:\xffchunked"),
            ("accentCH", "Transfer-Encoding: ch\x96nked"),
            ("accentTE", "Transf\x82r-Encoding: chunked"),
            ("x-rout", "X:X␍Transfer-Encoding: chunked"),
            ("x-nout", "X:X␊Transfer-Encoding: chunked"),
        )
    ),
]

_BURP = [
    *(
        _hidden(B, name, *rest)
        for name, *rest in (
            ("nameprefix2", "Foo: bar\n\tTransfer-Encoding: chunked"),
            ("doublewrapped", "Transfer-Encoding:\n \n chunked"),
            ("gareth1", "Transfer-Encoding␊ : chunked"),
            ("vertwrap", "Transfer-Encoding: ␊\x0bchunked"),
            ("tabwrap", "Transfer-Encoding: \n\tchunked"),
            ("0dwrap", "Foo: bar\n␍Transfer-Encoding: chunked"),
            ("badwrap", "X-Ignore: x\n Transfer-Encoding: chunked"),
            ("connection", "Connection: Transfer-Encoding\nTransfer-Encoding: chunked"),
            ("spjunk", "Transfer-Encoding x: chunked"),
            ("backslash", "Transfer\\Encoding: chunked"),
            ("nel", "Transfer-Encoding\x85: chunked"),
            ("nbsp", "Transfer-Encoding\xa0: chunked"),
            ("shy", "Transfer\xadEncoding: chunked"),
            ("unispace", "Transfer-Encoding:\xa0chunked"),
            ("dualchunk", "Transfer-Encoding: chunked\nTransfer-encoding: identity"),
            ("nested", "Transfer-Encoding: identity, chunked, identity"),
            ("bodysplit", "Foo: bar␊␊Transfer-Encoding: chunked"),
            ("encode", "Transfer-%45ncoding: chunked", FRAMED),
            ("http1.0", "X: y", FRAMED),
            ("removed", "Nothing-interesting: 1", FRAMED),
            ("range", "Range: bytes=0-0", FRAMED),
        )
    ),
    *(
        case(B, name, f"{POST}Content-Length: {length}\n\nhello", *want)
        for name, length, *want in (
            ("CL-plus", "+5", 400),
            ("CL-minus", "-5", 400),
            ("CL-pad", "05", "POST / hello"),
            ("CL-bigpad", "000000000005", "POST / hello"),
            ("CL-e", "5e0", 400),
            ("CL-dec", "5.0", 400),
            ("CL-commaprefix", "0, 5", 400),
            ("CL-commasuffix", "5, 0", 400),
            ("CL-spacepad", "5 0", 400),
            ("CL-error", "5x", 400),
        )
    ),
    case(B, "CL-expect", f"{POST}Content-Length: 5\nExpect: 100-continue\n\nhello", "POST / hello"),
    case(B, "CL-expect-obfs", f"{POST}Content-Length: 5\nExpect: x 100-continue\n\nhello", 417),
    case(B, "get", f"{GET}Transfer-Encoding: chunked\n\n5\nhello\n0\n\n", "GET / hello"),
    case(
        B,
        "options",
        f"OPTIONS / {H}Transfer-Encoding: chunked\n\n5\nhello\n0\n\n",
        "OPTIONS / hello",
    ),
    case(B, "head", f"HEAD / {H}Transfer-Encoding: chunked\n\n5\nhello\n0\n\n", "HEAD / hello"),
    case(B, "chunked in 1.0", "POST / HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\n\n0\n\n", 400),
    case(B, "hidden in an unfinished body", f"{POST}Content-Length: 50\n\n0\n\n{EVIL}", WAITS),
]

CASES: list[Case] = [*_GARDEN, *_SMUGGLER, *_BURP]
