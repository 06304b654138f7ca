#!/usr/bin/env bash
# Installs what scripts/bench.py measures the emulator with and beside: on Debian, as root, as often as you like.
set -euo pipefail
cd "$(dirname "$0")/.."

# From the distribution: the load generators (ab for HEAD requests alone) and a registry.
packages=(wrk apache2-utils docker-registry ca-certificates)

# The current release of distribution, and zot without its extensions.
distribution=github.com/distribution/distribution/v3/cmd/registry@v3.1.2
zot=zotregistry.dev/zot/v2/cmd/zot@v2.1.2

# Each in an environment of its own, since they want other versions of what they share. moto's has matplotlib,
# which draws the plots.
bench_requirements=('moto[server]==5.2.5' matplotlib==3.11.2)
ministack_requirements=(ministack==1.5.33)

install_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    command -v go >/dev/null || missing+=(golang-go)
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    echo "install_bench: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # RUNLEVEL=1 keeps the packages from starting services.
    RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# build NAME MODULE@VERSION: the program of a Go module, as build/bin/NAME. Fails where it does not build.
build() {
    local name=$1 module=$2
    local versioned=build/bin/$name-${module##*@}
    if [ ! -x "$versioned" ]; then
        echo "install_bench: building $name"
        GOBIN=$PWD/build/bin GOFLAGS="-buildvcs=false '-ldflags=-s -w'" go install "$module" || return
        mv "build/bin/$(basename "${module%@*}")" "$versioned"
    fi
    ln -sf "$(basename "$versioned")" "build/bin/$name"
}

# install_python FOLDER REQUIREMENT...: an environment with these, which a note in it names.
install_python() {
    local folder=$1
    shift
    if [ "$(cat "$folder/.installed" 2>/dev/null)" = "$*" ]; then return; fi
    echo "install_bench: installing $*"
    "${PYTHON:-python3}" -m venv --clear "$folder"
    "$folder/bin/pip" install -q "$@"
    echo "$*" >"$folder/.installed"
}

install_packages
mkdir -p build/bin
build distribution "$distribution"
build zot "$zot" || echo "install_bench: zot does not build here; the bench goes without it" >&2
install_python build/bench-venv "${bench_requirements[@]}"
install_python build/ministack-venv "${ministack_requirements[@]}"
