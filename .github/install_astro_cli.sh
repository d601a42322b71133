#!/bin/sh
# Install the Astro CLI on a Linux runner, after comparing its checksum with that of the release.
# Usage: sh .github/install_astro_cli.sh FOLDER
set -eu
version=1.45.0
archive=astro_${version}_linux_amd64.tar.gz
release=https://github.com/astronomer/astro-cli/releases/download/v$version
folder=$1
download=$(mktemp -d)
mkdir -p "$folder"
cd "$download"
curl --fail --silent --show-error --location --retry 3 --remote-name-all \
    "$release/$archive" "$release/astro_${version}_checksums.txt"
grep " $archive\$" "astro_${version}_checksums.txt" | sha256sum --check --strict
tar -xzf "$archive" astro
cd - >/dev/null
mv "$download/astro" "$folder/astro"
"$folder/astro" version
