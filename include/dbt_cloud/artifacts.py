"""Download the artifacts of a run's steps. A missing one is normal."""

import json
from typing import Any

from requests.exceptions import RequestException

from include.dbt_cloud.exceptions import DbtCloudRequestError, DbtCloudResponseError, unexpected_body
from include.dbt_cloud.hook import DbtCloudHook
from include.dbt_cloud.job_run import JobRun

# Bytes. Parsing takes several times as much memory.
MAX_MANIFEST_SIZE = 30_000_000
CHUNK_SIZE = 1 << 20


def read_artifact(hook: DbtCloudHook, run: JobRun, step: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a JSON artifact of a step; an empty dictionary if the step has none.

    :raises DbtCloudRequestError: dbt Cloud could not be reached, or did not answer with the artifact.
    """
    try:
        response = hook.get_job_run_artifact(path=path, **_location(run, step))
    except DbtCloudResponseError as error:
        if error.status_code != 404:
            raise
        return {}
    try:
        artifact = response.json()
    except ValueError:
        raise unexpected_body(response, hook.dbt_cloud_conn_id) from None
    return artifact if isinstance(artifact, dict) else {}


def read_parents(hook: DbtCloudHook, run: JobRun, step: dict[str, Any]) -> dict[str, list[str]] | None:
    """Return the ``parent_map`` of a step's manifest: the ids that each node depends on.

    None if the manifest is missing, too large or unreadable: it only adds detail.
    """
    session, body = hook.get_conn(), bytearray()
    # Stop reading a manifest that is too large.
    session.stream = True
    try:
        with hook.get_job_run_artifact(path="manifest.json", **_location(run, step)) as response:
            for chunk in response.iter_content(CHUNK_SIZE):
                body += chunk
                if len(body) > MAX_MANIFEST_SIZE:
                    return None
        parents = json.loads(body)["parent_map"]
        return parents if isinstance(parents, dict) else None
    except (DbtCloudRequestError, RequestException, ValueError, KeyError, TypeError):
        return None
    finally:
        session.stream = False


def _location(run: JobRun, step: dict[str, Any]) -> dict[str, Any]:
    return {"run_id": run.id, "account_id": run.account_id, "step": step["index"]}
