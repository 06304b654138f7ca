#!/usr/bin/env bash
# Build the OCI distribution specification's conformance suite, pinned, into build/bin. Needs Go.
set -euo pipefail
cd "$(dirname "$0")/.."

version=v0.0.0-20260831232431-97274622c111
stamp=build/bin/conformance-$version

if [ -x "$stamp" ]; then exit 0; fi
if ! command -v go >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends golang-go ca-certificates
fi
GOBIN=$PWD/build/bin go install "github.com/opencontainers/distribution-spec/conformance@$version"
mv build/bin/conformance "$stamp"
ln -sf "conformance-$version" build/bin/conformance
