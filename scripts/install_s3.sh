#!/usr/bin/env bash
# Build versitygw, a server that speaks S3 over a folder, pinned, into build/bin. Needs Go.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v1.8.0
stamp=build/bin/versitygw-$version

if [ -x "$stamp" ]; then exit 0; fi
if ! command -v go >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends golang-go ca-certificates
fi
GOBIN=$PWD/build/bin go install "github.com/versity/versitygw/cmd/versitygw@$version"
mv build/bin/versitygw "$stamp"
ln -sf "versitygw-$version" build/bin/versitygw
