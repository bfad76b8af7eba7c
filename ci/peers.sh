#!/bin/sh
# Side by side with what others do, on the same cores, in alternation: wrk as the client of nginx and of serve; calls of SIPp
# to SIPp, and of bench to serve. Prints medians, the spread and ratios; authentication is off on both sides. Needs Linux;
# takes wrk, nginx and SIPp from the distribution if they are missing (and fails if it cannot). Only loopback is used.
# Usage: ci/peers.sh [ROUNDS] [SECONDS]
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-5}
seconds=${2:-4}
peerproof=${PEERPROOF:-target/release/peerproof}

for tool in wrk nginx taskset sipp; do
    package=$tool
    [ "$tool" = sipp ] && package=sip-tester
    command -v "$tool" >/dev/null || apt-get install -y --no-install-recommends "$package" >/dev/null
done
[ -x "$peerproof" ] || cargo build --release

out=$(mktemp -d)
cores=$(nproc)
server=0
client=$((cores - 1))
[ "$cores" -gt 1 ] || echo "one core only: client and server share it"

stop() {
    kill $started 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$out"
}
started=
trap stop EXIT INT TERM

# What the same client is told by both trackers: a list of ten peers, and as many octets.
cat >"$out/find.lua" <<'LUA'
local n = 0
request = function()
  n = n + 1
  local r = math.random(0, 19999)
  local id = string.format("u%07d", r)
  local body = string.format('{"PPSPTrackerProtocol":{"version":1,"request_type":"FIND","transaction_id":"w-%d","peer_id":"%s","find":{"swarm_id":"s%05d","peer_num":{"peer_count":10}}}}', n, id, r % 100)
  return wrk.format("POST", "/ppstp", {["Content-Type"] = "application/ppsp-tracker+json", ["X-3GPP-Asserted-Identity"] = '"sip:' .. id .. '@ims.example"'}, body)
end
LUA
cat >"$out/range.lua" <<'LUA'
request = function()
  local first = math.random(0, 255) * 65536
  local path = string.format("/content/c%05d", math.random(0, 7))
  return wrk.format("GET", path, {["Range"] = string.format("bytes=%d-%d", first, first + 65535)})
end
LUA

# Serves on a free port until this script ends; its address goes to $address, its process to $pid.
serve() {
    mkfifo "$out/$1.in"
    "$peerproof" serve "$@" --cores "$server" <"$out/$1.in" >"$out/$1.ready" &
    pid=$!
    started="$started $pid"
    exec 9>"$out/$1.in"
    until grep -q ready "$out/$1.ready"; do sleep 0.1; done
    address=$(sed -n 's/.*"\(127[0-9.:]*\)".*/\1/p' "$out/$1.ready")
}
serve tracker --peers 20000 --swarms 100
tracker=$address tracker_pid=$pid
exec 8>&9
serve edge-server --contents 8 --size 16MiB
edge=$address edge_pid=$pid

mkdir -p "$out/html/content"
head -c 3300 /dev/zero | tr '\0' x >"$out/html/list"
n=0
while [ "$n" -lt 8 ]; do
    head -c 16777216 /dev/urandom >"$out/html/content/c0000$n"
    n=$((n + 1))
done
chmod -R a+rX "$out"
cat >"$out/nginx.conf" <<CONF
daemon off; worker_processes 1; pid $out/nginx.pid; error_log $out/error.log crit;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; sendfile on; open_file_cache max=100;
  server { listen 127.0.0.1:18099; root $out/html; location / { } } }
CONF
taskset -c "$server" nginx -c "$out/nginx.conf" &
started="$started $!"
until [ -s "$out/nginx.pid" ]; do sleep 0.1; done
sleep 0.5
nginx_pid=$(pgrep -P "$(cat "$out/nginx.pid")" | head -n 1)

# Time a process was on a core, in microseconds.
used() { awk '{ sub(/.*\) /, ""); print ($12 + $13) * 10000 }' "/proc/$1/stat"; }

# One run: its requests a second and its CPU for one, as a line of $out/$name.
run() {
    name=$1 pid=$2
    shift 2
    before=$(used "$pid")
    taskset -c "$client" wrk -t1 "-d${seconds}s" "$@" >"$out/wrk"
    after=$(used "$pid")
    if grep -q 'Non-2xx' "$out/wrk"; then
        echo "$name: some answers were no success" >&2
        exit 1
    fi
    awk -v cpu="$((after - before))" '/requests in/ { n = $1 } /^Requests\/sec/ { print $2, cpu / n }' \
        "$out/wrk" >>"$out/$name"
}

round=0
while [ "$round" -lt "$rounds" ]; do
    run tracker-nginx "$nginx_pid" -c32 http://127.0.0.1:18099/list
    run tracker-serve "$tracker_pid" -c32 -s "$out/find.lua" "http://$tracker/"
    run range-nginx "$nginx_pid" -c8 -s "$out/range.lua" http://127.0.0.1:18099/
    run range-serve "$edge_pid" -c8 -s "$out/range.lua" "http://$edge/"
    round=$((round + 1))
done

# Median, least and most of a column.
spread() { sort -n -k "$2" "$out/$1" | awk -v c="$2" '{ v[NR] = $c } END { printf "%.1f %.1f %.1f", v[int((NR + 1) / 2)], v[1], v[NR] }'; }

echo "medians of $rounds rounds of $seconds s (least to most); load average $(cut -d' ' -f1 /proc/loadavg) on $cores cores"
for what in tracker range; do
    for side in nginx serve; do
        spread "$what-$side" 1 | awk -v n="$what, $side" '{ printf "%-16s %10.0f /s (%.0f to %.0f)", n, $1, $2, $3 }'
        spread "$what-$side" 2 | awk '{ printf "   CPU %.1f µs a request (%.1f to %.1f)\n", $1, $2, $3 }'
    done
    a=$(spread "$what-serve" 1 | cut -d' ' -f1) b=$(spread "$what-nginx" 1 | cut -d' ' -f1)
    c=$(spread "$what-serve" 2 | cut -d' ' -f1) d=$(spread "$what-nginx" 2 | cut -d' ' -f1)
    awk -v w="$what" -v a="$a" -v b="$b" -v c="$c" -v d="$d" \
        'BEGIN { printf "%-16s %.2f × nginx in requests, %.2f × in CPU a request\n", w ", ratio", a / b, c / d }'
done

# Calls: INVITE, 200, ACK, BYE, 200 over UDP. Each side is asked for more and more calls a second, a quarter more each time;
# what counts is the most at which every call succeeds, nothing had to be said again, and the rate is kept.
cat >"$out/uac.xml" <<'XML'
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="call">
  <send retrans="500"><![CDATA[
INVITE sip:es1@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:u0000001@ims.example>;tag=[call_number]
To: <sip:es1@ims.example>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=message 9 TCP/MSRP *
a=recvonly
]]></send>
  <recv response="100" optional="true"/>
  <recv response="200" rtd="true" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:u0000001@ims.example>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Content-Length: 0

]]></send>
  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:u0000001@ims.example>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 2 BYE
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
XML
cat >"$out/uas.xml" <<'XML'
<?xml version="1.0" encoding="UTF-8"?>
<scenario name="answer">
  <recv request="INVITE"/>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=message 9 TCP/MSRP *
a=sendonly
]]></send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
XML
sip="-i 127.0.0.1 -timer_resol 1 -buff_size 8000000 -nostdin -nd"

# Whether SIPp keeps a rate: every call succeeds without a copy, in no more than half a second beyond the time it was given.
sipp_keeps() {
    taskset -c "$server" sipp -sf "$out/uas.xml" $sip -p 18060 >/dev/null 2>&1 &
    uas=$!
    sleep 0.3
    begun=$(date +%s%N) calls=$(($1 * seconds))
    taskset -c "$client" sipp -sf "$out/uac.xml" $sip -p 18061 -r "$1" -m "$calls" -l 1000000 \
        -timeout $((seconds + 5)) -trace_stat -stf "$out/stat.csv" 127.0.0.1:18060 >"$out/sipp" 2>&1 &
    uac=$! asks=0 code=0
    while sleep 0.1 && kill -0 "$uac" 2>/dev/null; do
        asks=$(used "$uac" 2>/dev/null || echo "$asks")
    done
    wait "$uac" || code=$?
    took=$((($(date +%s%N) - begun) / 1000000))
    cpu=$(awk -v a="$(used "$uas")" -v b="$asks" -v n="$calls" 'BEGIN { print a / n, b / n }')
    kill -9 "$uas" 2>/dev/null
    wait "$uas" 2>/dev/null
    copies=$(awk -F';' 'NR == 1 { for (n = 1; n <= NF; n++) if ($n == "Retransmissions(C)") c = n } END { print $c }' \
        "$out/stat.csv")
    rm -f "$out/stat.csv"
    [ "$code" -eq 0 ] && [ "$took" -le $((seconds * 1000 + 500)) ] && [ "$copies" = 0 ]
}

# Whether bench and serve keep it: every call is right and in time, nothing is lost or dropped, and both sides count the same.
bench_keeps() {
    rm -rf "$out/calls"
    "$peerproof" bench callflow --mix piece=100 --rate "$1" --duration "${seconds}s" --warm-up 500ms --connections 1 \
        --contents 1 --size 64KiB --piece 16KiB --server-cores "$server" --cores "$client" --objective 0 \
        --allowed-lag 1s --allowed-busy 100 --allowed-starvation 100 --out "$out/calls" >"$out/bench" 2>&1 ||
        return 1
    cpu=$(awk '/"generator": {/ { side = "g" } /"server": {/ { side = "s" } /"cpu": [0-9.]/ { v[side] = $2 + 0 }
        /"figures": {/ { f = 1 } /"offered": [0-9]/ && f && !n { n = $2 + 0 } END { print v["s"] * 1e6 / n, v["g"] * 1e6 / n }' "$out/calls/bench.json")
}

# The most calls a second that something keeps, and the CPU of both sides for a call there, in microseconds.
most() {
    rate=4000 kept="0 0 0"
    while "$1" "$rate"; do
        kept="$rate $cpu"
        rate=$((rate * 5 / 4))
    done
    echo "$kept"
}

round=0
while [ "$round" -lt "$rounds" ]; do
    most sipp_keeps >>"$out/calls-sipp"
    most bench_keeps >>"$out/calls-bench"
    round=$((round + 1))
done
for side in sipp bench; do
    spread "calls-$side" 1 | awk -v n="calls, $side" '{ printf "%-16s %10.0f /s (%.0f to %.0f)", n, $1, $2, $3 }'
    spread "calls-$side" 2 | awk '{ printf "   CPU %.1f µs a call where it is answered (%.1f to %.1f)", $1, $2, $3 }'
    spread "calls-$side" 3 | awk '{ printf ", %.1f µs where it is made (%.1f to %.1f)\n", $1, $2, $3 }'
done
a=$(spread calls-bench 1 | cut -d' ' -f1) b=$(spread calls-sipp 1 | cut -d' ' -f1)
awk -v a="$a" -v b="$b" 'BEGIN { printf "%-16s %.2f × SIPp to SIPp in calls\n", "calls, ratio", a / (b > 0 ? b : 1) }'
