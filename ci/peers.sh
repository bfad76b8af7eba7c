#!/bin/sh
# Side by side with what others do, on the same two cores, in alternation: one for whoever asks, one for whoever answers.
# Prints medians, the spread, and at the end one table of ratios; authentication is off on both sides. Needs Linux. Takes what
# is missing from the distribution's packages, or says which pair it skips; only loopback is used, and nothing stays behind.
usage() {
    cat <<'TEXT'
Usage: ci/peers.sh [-r ROUNDS] [-s SECONDS] [PAIR…]

  -r ROUNDS   how often each side is measured [default: 5; or ROUNDS of the environment]
  -s SECONDS  how long each time [default: 4; or SECONDS of the environment]

Pairs, all of them by default:
  tracker     a list of ten peers of 200 from serve; a static file of as many octets from nginx; asked by wrk
  announce    the same list; an announce for ten peers of 200 to opentracker; asked by wrk
  range       64 KiB ranges of 16 MiB from serve, nginx, Varnish and Traffic Server; asked by wrk
  whole       1 MiB objects from the same
  hash        octets that bench takes and hashes; octets that openssl hashes
  client      CPU that bench takes to ask, and how late it asks; CPU of wrk, and pauses of the machine
  calls       calls from bench to serve; from SIPp to SIPp

PEERPROOF names the program [default: target/release/peerproof, built with the feature mimalloc]
TEXT
}
set -eu
cd "$(dirname "$0")/.."
here=$PWD/ci/peers
rounds=${ROUNDS:-5}
# Some shells count seconds in this variable, from 0, unless it is set.
# shellcheck disable=SC3028 # it is a variable like any other in those that do not
seconds=${SECONDS:-0}
[ "$seconds" != 0 ] || seconds=4
while getopts hr:s: option; do
    case $option in
        h) usage && exit ;;
        r) rounds=$OPTARG ;;
        s) seconds=$OPTARG ;;
        *) usage >&2 && exit 2 ;;
    esac
done
shift $((OPTIND - 1))
case $rounds$seconds in *[!0-9]*) echo "rounds $rounds, seconds $seconds: expected whole numbers" >&2 && exit 2 ;; esac
[ $# -gt 0 ] || set -- tracker announce range whole hash client calls
for pair in "$@"; do
    case $pair in
        tracker | announce | range | whole | hash | client | calls) ;;
        *) echo "$pair: found no such pair; see ci/peers.sh -h" >&2 && exit 2 ;;
    esac
done
peerproof=${PEERPROOF:-target/release/peerproof}
[ -n "${PEERPROOF:-}" ] || cargo build --release --features mimalloc
command -v taskset >/dev/null || { echo "taskset is missing: it is part of util-linux" >&2 && exit 1; }

cores=$(nproc)
server=0
client=$((cores - 1))
[ "$cores" -gt 1 ] || echo "one core only: client and server share it, and no ratio says anything"

. ci/peers/lib.sh
out=$(mktemp -d)
started=
end() {
    stop
    rm -rf "$out"
}
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
# The input of servers: it ends with us, however we do.
mkfifo "$out/open"
exec 9<>"$out/open"

stolen() { awk '/^cpu / { print $9, $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9 }' /proc/stat; }
echo "medians of $rounds rounds of $seconds s (least to most); load average $(cut -d ' ' -f 1-3 /proc/loadavg) on $cores cores at the start"
taken=$(stolen)
: >"$out/ratios"
: >"$out/skipped"
for pair in "$@"; do
    printf '\n== %s\n' "$pair"
    least=1 ends='' warming=''
    # shellcheck source=/dev/null # one of the pairs above
    . "ci/peers/$pair.sh"
    stop
    rm -rf "$out/nginx" "$out/varnish" "$out/trafficserver" "$out/opentracker"
done

printf '\n== ratios\n'
awk -F'|' '
    BEGIN { print cell("pair", 8), cell("ours", 38), cell("the best of the others", 30), cell("ratio", 5) }
    { print cell($1, 8), cell($2, 38), cell($3, 30), cell($4, 5), $5 }
    # Some count octets where others count characters, of which µ has two.
    function cell(text, width,    short) {
        short = text
        gsub(/µ/, "u", short)
        while (length(short) < width) { short = short " "; text = text " " }
        return text " "
    }' "$out/ratios"
cat "$out/skipped"
echo "$taken $(stolen)" | awk '{ printf "the host took %.1f %% of the cores away meanwhile; ", ($3 - $1) * 100 / ($4 - $2 + 1e-9) }'
echo "load average $(cut -d ' ' -f 1 /proc/loadavg) at the end"
