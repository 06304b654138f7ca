#!/usr/bin/env bash
# Installs what the tests of several servers over one store need: on Debian, as root, as often as you like.
set -euo pipefail

packages=(postgresql postgresql-contrib)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
echo "install_scaled: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# RUNLEVEL=1 keeps the packages from starting services: the tests start servers of their own.
RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
