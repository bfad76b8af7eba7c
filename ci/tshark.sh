#!/bin/sh
# Lets another decoder read the captures of a run: tshark must recognise every message as what it is.
# Captures of scenarios that send malformed messages, or break a stream off amid one, are left out. Says aloud when it skips.
# Usage: ci/tshark.sh RUN-FOLDER [HOW-MANY]
set -eu

run=$1
most=${2:-40}

if ! command -v tshark >/dev/null 2>&1; then
  echo "SKIPPED: tshark is not installed, so no other decoder has read the captures"
  exit 0
fi

decode() {
  tshark -2 -r "$1" -o tcp.desegment_tcp_streams:TRUE \
    -d tcp.port==5060-5079,sip -d udp.port==5060-5079,sip \
    -d tcp.port==8080-8081,http -d tcp.port==8443-8444,http \
    -d tcp.port==2855,msrp -d tcp.port==7777,msrp \
    -d tcp.port==3868,diameter \
    -T fields -e frame.number -e frame.protocols -e _ws.malformed -e tcp.reassembled_in \
    -e frame.comment 2>/dev/null
}

found=$(mktemp)
trap 'rm -f "$found"' EXIT
find "$run/" -name evidence.pcapng ! -path '*/malformed/*' ! -path '*/security/*' ! -path '*breaks-off*' | sort |
  head -n "$most" >"$found"

wrong=0
while read -r capture; do
  decode "$capture" >"$found.fields"
  if [ ! -s "$found.fields" ]; then
    echo "$capture: tshark reads nothing in it"
    wrong=1
  fi
  # A segment that a later packet completes has no protocol of its own yet. tshark looks for line ends in
  # octets that MSRP carries and calls some chunks malformed; their heads it reads well.
  if awk -F '\t' '
    $4 != "" || ($2 ~ /:msrp/ && $3 != "") { next }
    $3 != "" || $2 !~ /:(sip|http|msrp|diameter)/ { print; bad = 1 }
    END { exit !bad }' "$found.fields"; then
    echo "$capture: tshark takes these for something else"
    wrong=1
  fi
  rm -f "$found.fields"
done <"$found"

count=$(wc -l <"$found")
if [ "$count" -eq 0 ]; then
  echo "found no captures in $run"
  exit 1
fi
[ "$wrong" -eq 0 ] && echo "tshark reads $count captures as we do"
exit "$wrong"
