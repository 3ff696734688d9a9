"""300 stations as GeoJSON, and the OpenAPI document that the service wants."""

import json
import os
import subprocess
import sys

features = [
    {
        "type": "Feature",
        "id": str(n),
        "properties": {"id": n, "name": f"Station {n}"},
        "geometry": {"type": "Point", "coordinates": [n % 180, n % 90]},
    }
    for n in range(300)
]
with open("stations.geojson", "w") as file:
    json.dump({"type": "FeatureCollection", "features": features}, file)
command = [os.path.join(os.path.dirname(sys.executable), "pygeoapi"), "openapi", "generate"]
command += ["config.yml", "--output-file", "openapi.yml"]
subprocess.run(command, check=True)
