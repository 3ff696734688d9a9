import dash
from dash import html

dash.register_page(__name__, path="/", name="Home")
layout = html.P("Choose a table.")
