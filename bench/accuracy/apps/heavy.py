"""Much memory: tables at import, a large buffer in each request."""

from flask import Flask

application = Flask(__name__)
table = {n: b"%064d" % n for n in range(400_000)}


@application.get("/")
def render() -> dict[str, int]:
    buffer = bytearray(b"\x01") * (8 << 20)
    return {"bytes": len(buffer), "sum": sum(table[n][-1] for n in range(0, 400_000, 20))}
