"""Tables, and the demonstration project with its bills."""

from ihatemoney.wsgi import application

application = getattr(application, "app", application)
client = application.test_client()
assert client.get("/demo").status_code < 400
