#!/usr/bin/env bash
# Build the wheel, install it into an empty environment, serve from it and create a repository.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then kill "$server" && { wait "$server" || true; }; fi
    rm -rf "$work"
}
trap finish EXIT

rm -rf dist
make --no-print-directory wheel
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install -q dist/*.whl
"$work/venv/bin/ecr-emulator" --version

cd "$work"
: >"$work/log"
"$work/venv/bin/ecr-emulator" serve --data-dir :memory: --port 0 2>"$work/log" &
server=$!
url=
for _ in $(seq 100); do
    url=$(sed -n 's/.*listening on \(http[^,]*\),.*/\1/p' "$work/log")
    if [ -n "$url" ]; then break; fi
    sleep 0.1
done
if [ -z "$url" ]; then
    cat "$work/log"
    exit 1
fi

# No SDK is in the environment: the API takes plain JSON.
"$work/venv/bin/python" - "$url" <<'PYTHON'
import json
import sys
import urllib.request

request = urllib.request.Request(
    sys.argv[1],
    json.dumps({"repositoryName": "app"}).encode(),
    {"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.CreateRepository"},
)
print(json.load(urllib.request.urlopen(request))["repository"]["repositoryUri"])
PYTHON
