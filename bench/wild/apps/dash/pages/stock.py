import dash
from dash import dash_table

dash.register_page(__name__, path="/stock", name="Stock")
layout = dash_table.DataTable([{"item": f"item {n}", "count": n % 9} for n in range(100)])
