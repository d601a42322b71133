# Create a virtual environment with exactly the packages of lock files.
# Usage: PYTHON=python3.11 sh .make/set_up.sh .make/venv LOCK... [--editable PROJECT]
set -eu
venv=$1
shift
editable=
set -- "$@" --
while [ "$1" != -- ]; do
    case $1 in
        --editable) editable=$2; shift 2 ;;
        *) set -- "$@" --requirement "$1"; shift ;;
    esac
done
shift # What remains: --requirement LOCK ...

if [ -z "$PYTHON" ]; then
    echo "Python 3.11, 3.12 or 3.13 was not found: install one, or set its path with make PYTHON=/path/to/python." >&2
    exit 1
fi

echo "Creating $venv, which takes a minute or two the first time."
# Recreated each time, so that packages removed from the lock files disappear.
rm -rf "$venv"
"$PYTHON" -m venv --without-pip "$venv"

pip_install() {
    if "$PYTHON" -m pip --version >/dev/null 2>&1; then
        "$PYTHON" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check --no-deps "$@"
    else
        "$venv/bin/python" -m ensurepip >/dev/null
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$@"
    fi
}

uv=$(command -v uv || echo .make/venv/bin/uv)
if [ ! -x "$uv" ]; then
    # pip installs the version of uv in the lock file and checks its hashes.
    awk '/^[a-z]/ {of_uv = /^uv==/} of_uv' requirements-dev.lock > "$venv/uv.txt"
    pip_install --requirement "$venv/uv.txt"
fi
export VIRTUAL_ENV="$venv"
if ! "$uv" pip sync --quiet $(echo "$@" | sed 's/--requirement //g'); then
    # pip reads settings that uv ignores, such as a company's package index in pip.conf.
    pip_install --require-hashes "$@"
fi
if [ -n "$editable" ]; then
    "$uv" pip install --quiet --no-deps --no-build-isolation --editable "$editable" ||
        pip_install --no-build-isolation --editable "$editable"
fi
touch "$venv/ready"
