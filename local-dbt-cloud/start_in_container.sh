#!/bin/sh
# Start the local dbt Cloud in a container. Install the pinned dependencies first if the lock file has changed.
set -eu
cd "$(dirname "$0")"
environment=${LOCAL_DBT_CLOUD_ENVIRONMENT:-/environment}
if ! cmp -s requirements.lock "$environment/installed.lock"; then
    python3 -m venv --clear "$environment/venv"
    "$environment/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps \
        --requirement requirements.lock
    cp requirements.lock "$environment/installed.lock"
fi
# Python cannot write bytecode, because the sources are mounted read-only.
exec env PYTHONPATH=src PYTHONDONTWRITEBYTECODE=1 "$environment/venv/bin/python" -m local_dbt_cloud --host 0.0.0.0
