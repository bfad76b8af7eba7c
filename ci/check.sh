#!/bin/sh
# Everything that must hold before a change is taken in: style, lints, tests, suites, a whole run.
# Needs the Rust toolchain; nothing outside loopback. Usage: ci/check.sh
set -eu
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

say "format"
cargo fmt --check

say "lints"
cargo clippy --all-targets --all-features -- -D warnings

say "tests"
cargo test --all-features

say "program"
cargo build --release
peerproof=${CARGO_TARGET_DIR:-target}/release/peerproof
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

say "what takes a feature says so without it"
status=0
"$peerproof" users 2>"$out/users.txt" || status=$?
[ "$status" -eq 2 ]
grep -q -e '--features users' "$out/users.txt"

say "suites"
"$peerproof" lint

say "every scenario, in memory"
"$peerproof" run --report junit,ctrf --pcap always --out "$out/memory"

say "every check can fail, and for the right reason"
"$peerproof" prove

say "smoke scenarios, over sockets"
"$peerproof" run --tag smoke --transport sockets --out "$out/sockets"

say "TLS and certificates, over sockets"
"$peerproof" run 'common/tracker-on-ut/*' --transport sockets --out "$out/tls"

say "smoke scenarios, over sockets on IPv6"
status=0
"$peerproof" run --tag smoke --transport sockets-ipv6 --out "$out/sockets-ipv6" || status=$?
case $status in
    0) ;;
    7) say "NOT DONE: this machine has no IPv6" ;;
    *) exit "$status" ;;
esac

say "what the consumers of reports make of them"
ci/reports.sh "$out/memory"

say "the action, carried out as by a runner"
ci/action/try.sh

say "files that other programs read"
ci/files.sh

say "what another decoder makes of it"
ci/tshark.sh "$out/memory"

say "all good"
