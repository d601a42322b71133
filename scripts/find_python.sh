# Prints the first Python on the path that this project runs on, newest last tried: 3.11 to 3.13.
for name in python3 python3.13 python3.12 python3.11 python; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
        echo "$name"
        exit
    fi
done
