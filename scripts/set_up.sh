# Makes the virtual environment that every command runs in, and fills it with what requirements-dev.lock pins.
# Usage: PYTHON=python3.11 sh scripts/set_up.sh .venv
set -eu
venv=$1

if [ -z "$PYTHON" ]; then
    echo "This project needs Python 3.11, 3.12 or 3.13: install one, or name it with make PYTHON=/path/to/python." >&2
    exit 1
fi

echo "Setting up $venv: the first time takes a minute or two."
# Begun anew each time, so that nothing stays that the lock file no longer names.
rm -rf "$venv"
"$PYTHON" -m venv --without-pip "$venv"
if command -v uv >/dev/null; then
    uv=uv
else
    # The lock file holds uv too: pip installs that version, and checks its hashes.
    awk '/^[a-z]/ {of_uv = /^uv==/} of_uv' requirements-dev.lock > "$venv/uv.txt"
    if "$PYTHON" -m pip --version >/dev/null 2>&1; then
        set -- "$PYTHON" -m pip --python "$venv/bin/python"
    else
        "$venv/bin/python" -m ensurepip >/dev/null
        set -- "$venv/bin/python" -m pip
    fi
    "$@" install --quiet --disable-pip-version-check --requirement "$venv/uv.txt"
    uv=$venv/bin/uv
fi
if ! "$uv" pip sync --quiet --python "$venv/bin/python" requirements-dev.lock; then
    # pip knows settings that uv does not, such as the company's registry in pip.conf.
    "$PYTHON" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check \
        --require-hashes --requirement requirements-dev.lock
fi
