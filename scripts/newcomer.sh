#!/usr/bin/env bash
# The newcomer's test: the committed project, cloned to an empty folder, with an empty home and no
# virtual environment, does what the README's two commands promise. While `make run` serves, an image
# is pushed and the ECR API is asked about it; then `make test` passes.
set -euo pipefail

PORT=4510
READY_SECONDS=600
# Of the environment only what package installs may need here.
PASSED_PREFIXES=(
    PIP_ UV_
    HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy
    SSL_CERT_ REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_
    LANG LC_ TERM
)

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d -t newcomer-XXXXXX)
server=

say() { printf 'newcomer: %s\n' "$*"; }

fail() {
    printf 'newcomer: FAILED: %s\n' "$*" >&2
    if [ -f "$work/run.log" ]; then
        printf 'newcomer: the end of what make run printed:\n' >&2
        tail -n 40 "$work/run.log" >&2
    fi
    exit 1
}

# Stops `make run` and what it started: they are a process group of their own.
stop_server() {
    [ -n "$server" ] || return 0
    local group=$server
    server=
    kill -TERM -- "-$group" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 -- "-$group" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$group" 2>/dev/null || true
    return 1
}

cleanup() {
    local code=$?
    stop_server || true
    rm -rf "$work"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

environment=("HOME=$work/home" "TMPDIR=$work/tmp")
for name in $(compgen -e); do
    for prefix in "${PASSED_PREFIXES[@]}"; do
        if [[ $name == "$prefix"* ]]; then
            environment+=("$name=${!name}")
            break
        fi
    done
done

# PATH without the folder of a virtual environment that is active.
path=:$PATH:
[ -z "${VIRTUAL_ENV:-}" ] || path=${path//":$VIRTUAL_ENV/bin:"/:}
path=${path#:}
environment+=("PATH=${path%:}")

newcomer() { env -i "${environment[@]}" "$@"; }

answers() { newcomer curl --silent --fail --noproxy '*' --max-time 5 --output /dev/null "http://127.0.0.1:$PORT$1"; }

for tool in git make python3 curl skopeo setsid; do
    newcomer sh -c "command -v $tool" >/dev/null || fail "$tool is not installed"
done
if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
    fail "something else listens on 127.0.0.1:$PORT"
fi

mkdir "$work/home" "$work/tmp"
say "cloning $root to $work/project"
if [ -n "$(git -C "$root" status --porcelain)" ]; then
    say "note: changes that are not committed are not in the clone"
fi
newcomer git clone --quiet "$root" "$work/project" || fail "git clone"
cd "$work/project"
for command in 'make run' 'make test'; do
    grep -q "$command" README.md || fail "README.md does not say '$command'"
done

say "make run"
env -i "${environment[@]}" setsid make run >"$work/run.log" 2>&1 &
server=$!
started=$SECONDS
until answers /_emulator/ready; do
    kill -0 "$server" 2>/dev/null || fail "make run ended by itself"
    [ $((SECONDS - started)) -lt "$READY_SECONDS" ] || fail "not ready after $READY_SECONDS s"
    sleep 0.5
done
say "ready after $((SECONDS - started)) s"

# Serving does not need the AWS CLI, so where there is none it comes with the development packages.
aws=.venv/bin/aws
[ -x "$aws" ] || aws=$(newcomer sh -c 'command -v aws') || aws=
if [ -z "$aws" ] || ! newcomer "$aws" --version >/dev/null 2>&1; then
    say "no aws is installed: asking make for the development packages"
    newcomer make .venv/.dev-installed >"$work/dev.log" 2>&1 || fail "$(cat "$work/dev.log")"
    aws=.venv/bin/aws
fi

ecr() {
    newcomer AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 AWS_PAGER= \
        "$aws" ecr --endpoint-url "http://127.0.0.1:$PORT" --output text "$@"
}

say "aws ecr create-repository"
uri=$(ecr create-repository --repository-name newcomer/app --query repository.repositoryUri)
[ "$uri" = "127.0.0.1:$PORT/newcomer/app" ] || fail "repositoryUri is $uri"

say "skopeo copy of an image to $uri:v1"
digest=$(newcomer python3 - "$work/image" <<'PYTHON'
import gzip, hashlib, io, json, pathlib, sys, tarfile

folder = pathlib.Path(sys.argv[1])
(folder / "blobs" / "sha256").mkdir(parents=True)

def add(data):
    digest = hashlib.sha256(data).hexdigest()
    (folder / "blobs" / "sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}

tar = io.BytesIO()
with tarfile.open(fileobj=tar, mode="w") as archive:
    info = tarfile.TarInfo("hello")
    info.size = 5
    archive.addfile(info, io.BytesIO(b"hello"))
layer = add(gzip.compress(tar.getvalue()))
diff_id = f"sha256:{hashlib.sha256(tar.getvalue()).hexdigest()}"
rootfs = {"type": "layers", "diff_ids": [diff_id]}
config = add(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode())
oci = "application/vnd.oci.image"
manifest = {
    "schemaVersion": 2,
    "mediaType": f"{oci}.manifest.v1+json",
    "config": {"mediaType": f"{oci}.config.v1+json", **config},
    "layers": [{"mediaType": f"{oci}.layer.v1.tar+gzip", **layer}],
}
image = add(json.dumps(manifest).encode())
entry = {"mediaType": manifest["mediaType"], "annotations": {"org.opencontainers.image.ref.name": "v1"}, **image}
(folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
(folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
print(image["digest"])
PYTHON
)
ecr get-login-password |
    newcomer skopeo login --tls-verify=false --authfile "$work/auth.json" --username AWS --password-stdin "127.0.0.1:$PORT"
newcomer skopeo copy --quiet --authfile "$work/auth.json" --dest-tls-verify=false --preserve-digests \
    "oci:$work/image:v1" "docker://$uri:v1" || fail "skopeo copy"

say "aws ecr describe-images"
seen=$(ecr describe-images --repository-name newcomer/app --query 'imageDetails[].[imageDigest,imageTags[0]]')
[ "$seen" = "$digest"$'\tv1' ] || fail "pushed $digest as v1, described: $seen"
say "described: $seen"

say "make test"
newcomer make test || fail "make test"
answers /_emulator/ready || fail "the server did not outlive make test"

say "stopping the server"
stop_server || fail "make run did not stop when asked to"
! answers /_emulator/ready || fail "something still serves after make run was stopped"
say "passed"
