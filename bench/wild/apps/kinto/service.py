"""Kinto on Postgres; everybody may read, those with an account may write."""

import os

import kinto

URL = os.environ["DATABASE_URL"]
SETTINGS = {
    "kinto.storage_backend": "kinto.core.storage.postgresql",
    "kinto.storage_url": URL,
    "kinto.cache_backend": "kinto.core.cache.postgresql",
    "kinto.cache_url": URL,
    "kinto.permission_backend": "kinto.core.permission.postgresql",
    "kinto.permission_url": URL,
    "kinto.userid_hmac_secret": "only for a bench",
    "kinto.bucket_create_principals": "system.Authenticated",
    "kinto.bucket_read_principals": "system.Everyone",
    "multiauth.policies": "basicauth",
}
application = kinto.main({}, **SETTINGS)
