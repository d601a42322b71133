#!/bin/sh
# Install the local dbt Cloud from its folder and lock file, if one of them has changed. For a container, which may mount
# the folder read-only. Usage: sh install_in_container.sh ENVIRONMENT
set -eu
environment=$1
cd "$(dirname "$0")"

if cat requirements.lock pyproject.toml | cmp -s - "$environment/installed"; then
    exit
fi
echo "Installing the local dbt Cloud, which takes a minute."
python3 -m venv --clear "$environment/venv"
pip="$environment/venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps"
# Editable: a restart of the container runs the changed sources.
if ! $pip --require-hashes --requirement requirements.lock || ! $pip --no-build-isolation --editable .; then
    echo "The local dbt Cloud was not installed; pip says why above. It needs a Python package index." >&2
    exit 1
fi
cat requirements.lock pyproject.toml > "$environment/installed"
