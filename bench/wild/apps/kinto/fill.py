"""Tables, and two buckets with collections of records that everybody may read."""

import base64
import json

from kinto.core.scripts import migrate
from pyramid.request import Request
from service import application

migrate({"registry": application.registry})
TOKEN = base64.b64encode(b"ann:secret").decode()


def put(path, data=None, permissions=None):
    request = Request.blank("/v1" + path, method="PUT")
    request.headers["Authorization"] = f"Basic {TOKEN}"
    request.content_type = "application/json"
    request.body = json.dumps({"data": data or {}, "permissions": permissions or {}}).encode()
    response = request.get_response(application)
    assert response.status_int < 300, (path, response.status, response.body)


for bucket in ("blog", "shop"):
    put(f"/buckets/{bucket}", permissions={"read": ["system.Everyone"]})
    put(f"/buckets/{bucket}/groups/editors", {"members": ["ann"]})
    for collection in ("articles", "comments"):
        put(f"/buckets/{bucket}/collections/{collection}")
        for number in range(50):
            path = f"/buckets/{bucket}/collections/{collection}/records/no-{number}"
            put(path, {"title": f"Number {number}", "text": "What it says. " * 20})
