# Prints the path of the first Python that this project runs on: 3.11, 3.12 or 3.13.
for name in python3 python3.13 python3.12 python3.11 python; do
    # Not the one of an activated virtual environment but the one beneath it: ours is about to be made anew.
    if "$name" -c '
import sys
if not (3, 11) <= sys.version_info < (3, 14): sys.exit(1)
print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null; then
        exit
    fi
done
