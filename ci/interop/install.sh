#!/bin/sh
# Installs software of others from the distribution's packages, each given as PROGRAM=PACKAGE[+PACKAGE…], if a program
# is missing, and starts no service. Fails if it cannot. Usage: ci/interop/install.sh PROGRAM=PACKAGES…
set -eu

missing=
packages=
for one in "$@"; do
  if ! command -v "${one%%=*}" >/dev/null 2>&1; then
    missing="$missing ${one%%=*}"
    packages="$packages $(echo "${one#*=}" | tr + ' ')"
  fi
done
if [ -z "$missing" ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
  echo "missing:$missing; expected them installed, or root on a system with apt-get"
  exit 1
fi

echo "installing$packages"
# Packages must not start what they install: everything here is started by us, on loopback.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086 # several packages
if ! { apt-get update && apt-get install --yes --no-install-recommends $packages; } >"$log" 2>&1; then
  tail -n 20 "$log"
  rm -f "$log"
  exit 1
fi
rm -f "$log"
