"""Sales of a shop as pages of Dash."""

from dash import Dash, dcc, html, page_container, page_registry

app = Dash(__name__, use_pages=True)
links = [dcc.Link(page["name"], href=page["path"]) for page in page_registry.values()]
app.layout = html.Div([html.H1("Shop"), html.Nav(links), page_container])
server = app.server
