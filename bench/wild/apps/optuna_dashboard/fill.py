"""Three studies of 40 trials."""

import os

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
for number in range(3):
    study = optuna.create_study(storage=os.environ["DATABASE_URL"], study_name=f"study-{number}")
    study.optimize(lambda trial: trial.suggest_float("x", -5, 5) ** 2, n_trials=40)
