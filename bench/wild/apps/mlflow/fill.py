"""Two experiments with runs, parameters and metrics, and a registered model."""

import os

import mlflow

mlflow.set_tracking_uri(os.environ["DATABASE_URL"])
for name in ("tea", "coffee"):
    mlflow.set_experiment(name)
    for number in range(15):
        with mlflow.start_run(run_name=f"{name}-{number}"):
            mlflow.log_params({"depth": number, "kind": name})
            mlflow.log_metrics({"error": 1 / (number + 1)})
mlflow.MlflowClient().create_registered_model("taster")
