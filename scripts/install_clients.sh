#!/usr/bin/env bash
# Installs the clients that tests/clients runs: on Debian, as root, as often as you like.
set -euo pipefail
cd "$(dirname "$0")/.."

# From the distribution: the engine and the command-line clients, what they need to run containers, a
# static busybox that the tests build their base image from, and a registry to pull through from.
packages=(
    docker.io
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

# Clients that no distribution has are built from source: one line each, in a function of their own.

# What notation does to verify a signature, at the version that its go.mod pins.
build_notation_verify() {
    if ! command -v go >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends golang-go ca-certificates
    fi
    go build -C tests/clients/notation -buildvcs=false -o "$PWD/build/bin/notation-verify" .
}

install_packages
build_notation_verify
