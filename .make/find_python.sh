# Print the path of the first supported Python in the PATH: 3.11, 3.12 or 3.13.
for name in python3 python3.13 python3.12 python3.11 python; do
    # The base Python, not that of an active virtual environment, which make may be about to recreate.
    if "$name" -c '
import sys
if not (3, 11) <= sys.version_info < (3, 14): sys.exit(1)
print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null; then
        exit
    fi
done
