"""The WSGI application. Loading it opens no database connection, so it may be preloaded."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.shop.settings")

application = get_wsgi_application()
