"""Runs until a fault scenario writes the outcome of the run, success or error, to a file."""

import os
import time
from pathlib import Path


def model(dbt, session):
    # A file for each job, in the data directory of the local dbt Cloud.
    outcome = Path(os.environ["DBT_PROFILES_DIR"]).parents[1] / "outcomes" / os.environ["DBT_CLOUD_JOB_ID"]
    while not outcome.exists():
        time.sleep(0.1)
    if outcome.read_text() == "error":
        raise ValueError("This model was told to fail.")
    return session.sql("select 1 as one")
