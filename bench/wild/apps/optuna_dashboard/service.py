import os

from optuna.storages import RDBStorage
from optuna_dashboard import wsgi

application = wsgi(RDBStorage(os.environ["DATABASE_URL"]))
