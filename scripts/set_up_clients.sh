# Makes a virtual environment for each client of dbt Cloud that tests drive, and fills it with what its lock pins.
# Usage: PYTHON=python3.11 sh scripts/set_up_clients.sh .venv tests/local_dbt_cloud/clients/dbtc.lock ...
set -eu
venv=$1
shift

echo "Setting up the clients that tests drive: the first time takes half a minute."
rm -rf "$venv/clients"
for lock in "$@"; do
    client=$venv/clients/$(basename "$lock" .lock)
    "$venv/bin/python" -m venv --without-pip "$client"
    if ! "$venv/bin/uv" pip sync --quiet --python "$client/bin/python" "$lock"; then
        # As in set_up.sh: pip knows settings that uv does not. Without --no-deps it would go by what packages
        # ask for, although the lock holds all there is to install.
        "$PYTHON" -m pip --python "$client/bin/python" install --quiet --disable-pip-version-check \
            --no-deps --require-hashes --requirement "$lock"
    fi
done
