#!/usr/bin/env bash
# Installs the Debian packages that are missing for a purpose: tools/bootstrap.sh build|fuzz
# Without root it says in one line which are missing. Nothing is fetched but by apt.
set -euo pipefail

build=(
  g++ cmake ninja-build pkg-config git python3
  nlohmann-json3-dev libcli11-dev libfmt-dev libspdlog-dev libpcre2-dev libutf8proc-dev
  libgtest-dev libvalijson-dev
)
fuzz=("${build[@]}" clang libclang-rt-14-dev clang-format clang-tidy)

purpose=${1:?usage: tools/bootstrap.sh build|fuzz}
declare -n packages=$purpose

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
  echo "missing packages: ${missing[*]} (as root: apt-get install ${missing[*]})" >&2
  exit 2
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -5 "$log" >&2
  echo "could not install: ${missing[*]}" >&2
  exit 2
fi
