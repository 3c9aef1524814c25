#!/usr/bin/env bash
# Writes the lock files of the test clients: test/requirements.txt (from requirements.in) and
# test/interop/node/package-lock.json. Both carry versions and hashes and no host names: whichever index or registry the
# user's pip and npm are set to may serve them. Run it after changing a version; it needs the network.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

echo "==> test/requirements.txt" >&2
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" download -q --disable-pip-version-check --only-binary :all: -r "$root/test/requirements.in" -d "$scratch/wheels"
{
  echo "# Written by tools/lock_clients.sh from requirements.in, for CPython 3.11 on x86-64. Do not edit."
  for wheel in "$scratch"/wheels/*.whl; do
    IFS=- read -r name version _ <<<"$(basename "$wheel")"
    printf '%s==%s --hash=sha256:%s\n' "${name//_/-}" "$version" "$(sha256sum "$wheel" | cut -d' ' -f1)"
  done
} >"$scratch/requirements.txt"
mv "$scratch/requirements.txt" "$root/test/requirements.txt"

echo "==> test/interop/node/package-lock.json" >&2
cd "$root/test/interop/node"
rm -f package-lock.json
npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error >&2
