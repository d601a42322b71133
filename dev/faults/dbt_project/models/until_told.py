"""Lasts until a file says how it ends: a scenario waits for events, and so does its run."""

import os
import time
from pathlib import Path


def model(dbt, session):
    # In the local dbt Cloud's data directory, a file for each job.
    end = Path(os.environ["DBT_PROFILES_DIR"]).parents[1] / "ends" / os.environ["DBT_CLOUD_JOB_ID"]
    while not end.exists():
        time.sleep(0.1)
    if end.read_text() == "error":
        raise ValueError("This model was told to fail.")
    return session.sql("select 1 as one")
