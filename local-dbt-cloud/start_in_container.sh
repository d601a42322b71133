#!/bin/sh
# Starts the local dbt Cloud in a container: makes its environment if it has changed, then serves.
set -eu
cd "$(dirname "$0")/../.."
environment=${LOCAL_DBT_CLOUD_ENVIRONMENT:-/environment}
wanted=include/local_dbt_cloud/requirements.txt
if ! cat "$wanted" requirements-dev.lock | cmp -s - "$environment/installed.txt"; then
    python3 -m venv --clear "$environment/venv"
    # The versions that were tested, without the hashes: pip takes none in constraints.
    sed -n 's/^\([A-Za-z0-9._-]*==.*[^ \\]\) *\\*$/\1/p' requirements-dev.lock > "$environment/constraints.txt"
    "$environment/venv/bin/pip" install --quiet --disable-pip-version-check \
        --requirement "$wanted" --constraint "$environment/constraints.txt"
    cat "$wanted" requirements-dev.lock > "$environment/installed.txt"
fi
# What it compiles cannot be kept beside the code, which is mounted read-only.
exec env PYTHONDONTWRITEBYTECODE=1 "$environment/venv/bin/python" -m local_dbt_cloud --host 0.0.0.0
