"""Sleeps for as many seconds as the last two digits of the job's ID say."""

import os
import time


def model(dbt, session):
    time.sleep(int(os.environ["DBT_CLOUD_JOB_ID"]) % 100)
    return session.sql("select 1 as one")
