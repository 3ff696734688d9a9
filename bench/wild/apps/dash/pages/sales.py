import dash
from dash import Input, Output, callback, dcc, html

dash.register_page(__name__, path="/sales", name="Sales")
layout = html.Div([dcc.Dropdown(["tea", "coffee"], "tea", id="kind"), dcc.Graph(id="chart")])


@callback(Output("chart", "figure"), Input("kind", "value"))
def draw(kind):
    values = [(number * len(kind)) % 17 for number in range(50)]
    return {"data": [{"y": values, "type": "bar"}], "layout": {"title": kind}}
