#!/bin/sh
# Lets another decoder read the captures of a run: tshark, told nothing about ports, must recognise every message as what
# it is, find none malformed, and find our comment on each. Captures of scenarios that send malformed messages, or break a
# stream off amid one, are left out. Says aloud when it skips. Usage: ci/tshark.sh RUN-FOLDER [HOW-MANY]
#
# One thing is forgiven, and counted aloud: in the header that ends an MSRP head, tshark 4.0 looks for the semicolon of a
# parameter up to ten octets into the content, and calls the message malformed if it finds one there.
set -eu

run=$1
most=${2:-40}

if ! command -v tshark >/dev/null 2>&1; then
  echo "SKIPPED: tshark is not installed, so no other decoder has read the captures"
  exit 0
fi

found=$(mktemp)
trap 'rm -f "$found" "$found.fields" "$found.wrong"' EXIT
find "$run/" -name evidence.pcapng ! -path '*/malformed/*' ! -path '*/security/*' ! -path '*breaks-off*' | sort |
  head -n "$most" >"$found"
count=$(wc -l <"$found")
if [ "$count" -eq 0 ]; then
  echo "found no captures in $run, expected those of: peerproof run --pcap always"
  exit 1
fi

# Whether the octets of a packet have a semicolon that early in what MSRP carries.
has_early_semicolon() {
  tshark -2 -r "$1" -Y "frame.number == $2 && msrp" -T fields -e tcp.payload 2>/dev/null |
    grep -Eq '^[0-9a-f]*0d0a0d0a([0-9a-f]{2}){0,9}3b'
}

wrong=0
forgiven=0
while read -r capture; do
  tshark -2 -r "$capture" -T fields -e frame.number -e frame.protocols -e _ws.malformed -e tcp.reassembled_in \
    -e tcp.len -e udp.length -e frame.comment >"$found.fields" 2>/dev/null
  if [ ! -s "$found.fields" ]; then
    echo "$capture: tshark reads nothing in it"
    wrong=1
  fi
  # A segment that a later packet completes has no protocol of its own yet; one without octets opens or ends a connection.
  awk -F '\t' '
    $3 != "" { print $1 "\tmalformed: " $0; next }
    $4 != "" || ($5 == "0" && $6 == "") { next }
    $2 !~ /:(sip|http|msrp|diameter)/ { print $1 "\tnot recognised: " $0 }
    $7 !~ /event [0-9]+: / { print $1 "\twithout our comment: " $0 }
    ' "$found.fields" >"$found.wrong"
  while IFS='	' read -r number what; do
    if has_early_semicolon "$capture" "$number"; then
      forgiven=$((forgiven + 1))
    else
      echo "$capture: packet $number: $what"
      wrong=1
    fi
  done <"$found.wrong"
done <"$found"

if [ "$forgiven" -gt 0 ]; then
  echo "FORGIVEN: $forgiven MSRP messages with a semicolon at the beginning of their content"
fi
[ "$wrong" -eq 0 ] && echo "tshark reads $count captures as we do"
exit "$wrong"
