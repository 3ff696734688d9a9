"""How well the model predicts real applications on real gunicorn: ``python -m bench.accuracy``."""
