#!/bin/sh
# Software of others, judged by peerproof: started on loopback with configurations of our own, installed from the
# distribution's packages where it is missing. Prints one table of verdicts, and what it skips; fails on a verdict that
# nobody explained. Needs root, for packages and for names that only the guests see. Takes under 5 minutes.
# Usage: ci/interop/run.sh [PEERPROOF [WHAT…]]    WHAT: kamailio, http, sipp; without it, all
set -eu
cd "$(dirname "$0")/../.."

peerproof=${1:-target/release/peerproof}
[ $# -gt 0 ] && shift
what=${*:-kamailio http sipp}
if [ ! -x "$peerproof" ]; then
  echo "there is no $peerproof: build it with cargo build --release, or name another"
  exit 2
fi
case $peerproof in
  /*) ;;
  *) peerproof=$PWD/$peerproof ;;
esac
out=${OUT:-$(mktemp -d)}
mkdir -p "$out"
[ -n "${OUT:-}" ] || trap 'rm -rf "$out"' EXIT
began=$(date +%s)

say() { printf '\n== %s\n' "$*"; }
wanted() { case " $what " in *" $1 "*) true ;; *) false ;; esac; }

# The runs, in the order of the table.
runs=
failed=0

# One run of a profile into a folder of its own; its exit code stands beside it.
play() {
  name=$1
  shift
  status=0
  "$peerproof" run --out "$out/$name" "$@" >"$out/$name.txt" 2>&1 || status=$?
  echo "$status" >"$out/$name.status"
}

# Waits for what runs beside us, then for nothing else.
finish() {
  wait
  for run in "$@"; do
    runs="$runs $out/$run"
    status=$(cat "$out/$run.status" 2>/dev/null || echo none)
    if [ "$status" != 0 ]; then
      echo "$run: peerproof ended with $status, expected 0: see $out/$run.txt"
      tail -n 12 "$out/$run.txt"
      failed=1
    fi
  done
}

command -v python3 >/dev/null 2>&1 || ci/interop/install.sh python3=python3

# Servers wait more than they work, the edges for the end of tokens (--slow): they go on beside the CSCFs.
if wanted http; then
  ci/interop/install.sh nginx=nginx-light varnishd=varnish
  servers=ci/interop/http
  suite=$servers/suite
  {
    play nginx-edge --slow --sut $servers/nginx-edge.toml 'unregistered/*'
    play nginx --suites $suite --sut $servers/nginx.toml
  } &
  {
    play varnish-edge --slow --sut $servers/varnish-edge.toml 'unregistered/*'
    play nginx-edge-http --suites $suite --sut $servers/nginx-edge.toml
  } &
  {
    play varnish --suites $suite --sut $servers/varnish.toml
    play varnish-edge-http --suites $suite --sut $servers/varnish-edge-http.toml
  } &
fi

if wanted kamailio; then
  say "Kamailio as P-, I- and S-CSCF"
  ci/interop/install.sh kamailio=kamailio+kamailio-ims-modules+kamailio-presence-modules
  kamailio -v | head -n 1
  profiles=ci/interop/kamailio
  # Two at a time: each has a network of its own.
  {
    play s-cscf --sut $profiles/s-cscf.toml
  } &
  {
    # Whole flows; of the rest, what shows outside the core.
    play ims-core --sut $profiles/ims-core.toml \
      'registered/*/brings-them-through-*' 'unregistered/*/brings-them-through-*' \
      'registered/*/asks-the-tracker-again-*' 'registered/*/tells-a-peer-neither-*' 'registered/*/answers-trying-*' \
      'registered/*/brings-the-publication-*' 'unregistered/*/answers-trying-*' \
      'common/registration/registers-the-user-*' 'common/registration/tells-the-tracker-*' \
      'common/registration/accepts-the-right-answer' 'common/registration/refuses-an-unknown-user' \
      'common/registration/ends-a-registration' 'common/registration/keeps-the-keys-of-aka' \
      'common/registration/brings-sequence-numbers-*'
    play ims-core-direct --sut $profiles/ims-core.toml --option request=direct \
      'registered/*/brings-three-pieces-*' 'unregistered/*/brings-three-pieces-*'
    play i-cscf --sut $profiles/i-cscf.toml
    play p-cscf --sut $profiles/p-cscf.toml
  } &
  finish ims-core ims-core-direct p-cscf i-cscf s-cscf
fi

if wanted http; then
  say "nginx as an origin and as edges, Varnish before it"
  nginx -v 2>&1
  varnishd -V 2>&1 | head -n 1
  finish nginx nginx-edge nginx-edge-http varnish varnish-edge varnish-edge-http
  echo "SKIPPED: data over MSRP; neither speaks it, so neither stands where a Controller delegates"
fi

if wanted sipp; then
  say "SIPp as a user peer"
  ci/interop/install.sh sipp=sip-tester
  sipp -v | grep -o 'SIPp v[^ ]*' | head -n 1
  play sipp --sut ci/interop/sipp/user-peer.toml
  finish sipp
  echo "SKIPPED: data; nobody is behind the path that SIPp answers with"
fi

say "verdicts"
# shellcheck disable=SC2086 # one argument a run
python3 ci/interop/table.py $runs || failed=1
echo "$(($(date +%s) - began)) s"
exit $failed
