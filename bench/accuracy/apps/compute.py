"""CPU in Python: builds, sorts and encodes a small document per request."""

import json

from flask import Flask, Response

application = Flask(__name__)


@application.get("/")
def document() -> Response:
    rows = [{"id": n, "key": (n * 7919) % 1009, "name": f"row {n}"} for n in range(1500)]
    rows.sort(key=lambda row: row["key"])
    text = json.dumps(rows[:600])
    return Response(
        json.dumps({"rows": len(rows), "bytes": len(text)}), mimetype="application/json"
    )
