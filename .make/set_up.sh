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

fail() {
    echo "$1" >&2
    exit 1
}

# The folder of this environment, which git knows: it exists, but may be another user's.
folder=$(dirname "$venv")
is_supported='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
[ -n "$PYTHON" ] ||
    fail "Python 3.11, 3.12 or 3.13 was not found: install one, or set its path with make PYTHON=/path/to/python."
"$PYTHON" -c "$is_supported" 2>/dev/null ||
    fail "$PYTHON is not Python 3.11, 3.12 or 3.13: set the path of one with make PYTHON=/path/to/python."
# Recreated each time, so that packages removed from the lock files disappear.
{ mkdir -p "$folder" && rm -rf "$venv" && mkdir "$venv"; } 2>/dev/null ||
    fail "Cannot write to $PWD/$folder: change the permissions of the project, or move it to a folder of yours."

# shellcheck disable=SC2046 # Lock files have no blanks in their names.
packages=$(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' $(echo "$@" | sed 's/--requirement //g') | sort -u | wc -l)
echo "Creating $venv with $((packages)) packages, which takes a minute or two the first time."
if [ -t 2 ]; then
    # Elapsed time, in a terminal.
    (
        seconds=0
        while sleep 1; do
            seconds=$((seconds + 1))
            printf '\r%s s ' "$seconds" >&2
        done
    ) &
    clock=$!
    trap 'kill "$clock"; printf "\r"' EXIT
fi
"$PYTHON" -m venv --without-pip "$venv" ||
    fail "$PYTHON cannot create a virtual environment: install its module venv (Debian, Ubuntu: python3-venv)."

pip_install() {
    if "$PYTHON" -m pip --version >/dev/null 2>&1; then
        "$PYTHON" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check --no-deps "$@"
    else
        "$venv/bin/python" -m ensurepip >/dev/null ||
            fail "$PYTHON has no pip: install it (Debian, Ubuntu: python3-pip)."
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$@"
    fi
}

not_installed="The packages were not installed; the reason is above. They come from the Python package index: check \
the network, and the proxy or index in pip's settings."
uv=$(command -v uv || echo .make/venv/bin/uv)
if [ ! -x "$uv" ]; then
    # pip installs the version of uv in the lock file and checks its hashes.
    awk '/^[a-z]/ {of_uv = /^uv==/} of_uv' requirements-dev.lock > "$venv/uv.txt"
    pip_install --requirement "$venv/uv.txt" || fail "$not_installed"
fi
export VIRTUAL_ENV="$venv"
# shellcheck disable=SC2046
if ! "$uv" pip sync --quiet $(echo "$@" | sed 's/--requirement //g'); then
    # pip reads settings that uv ignores, such as a company's package index in pip.conf.
    pip_install --require-hashes "$@" || fail "$not_installed"
fi
if [ -n "$editable" ]; then
    "$uv" pip install --quiet --no-deps --no-build-isolation --editable "$editable" ||
        pip_install --no-build-isolation --editable "$editable" || fail "$not_installed"
fi
# The programs in it contain this path.
pwd -P > "$venv/ready"
