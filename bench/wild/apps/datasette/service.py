from datasette.app import Datasette

app = Datasette(["shop.db"]).app()
