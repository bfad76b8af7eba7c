# Calls: INVITE, 200, ACK, BYE, 200 over UDP, SIPp to SIPp and bench to serve. What counts is the most at which every call
# succeeds, nothing had to be said again, and the rate is kept.
# shellcheck shell=sh disable=SC2154,SC2034 # of ci/peers.sh, and for ci/peers/lib.sh
needs sipp=sip-tester python3=python3 || return 0

# SIPp: every call succeeds without a copy, in no more than half a second beyond the time it was given.
sipp_keeps() {
    sip="-i 127.0.0.1 -timer_resol 1 -buff_size 8000000 -nostdin -nd"
    # shellcheck disable=SC2086 # several arguments
    start sipp sipp -sf "$here/uas.xml" $sip -p 18060
    sleep 0.3
    begun=$(date +%s%N) calls=$(($1 * seconds)) code=0
    times >"$out/before"
    # shellcheck disable=SC2086 # several arguments
    taskset -c "$client" sipp -sf "$here/uac.xml" $sip -p 18061 -r "$1" -m "$calls" -l 1000000 \
        -timeout $((seconds + 5)) -trace_stat -stf "$out/stat.csv" 127.0.0.1:18060 >"$out/sipp-calls.log" 2>&1 9>&- || code=$?
    times >"$out/after"
    took=$((($(date +%s%N) - begun) / 1000000))
    told=$(awk -v a="$(used sipp)" -v b="$(children before after)" -v n="$calls" 'BEGIN { print a / n, b / n }')
    # It would wait for calls that are never ended.
    kill -9 "$(cat "$out/sipp.pid")" 2>/dev/null || true
    stop
    copies=$(awk -F';' 'NR == 1 { for (n = 1; n <= NF; n++) if ($n == "Retransmissions(C)") c = n } END { print $c }' \
        "$out/stat.csv")
    rm -f "$out/stat.csv"
    [ "$code" -eq 0 ] && [ "$took" -le $((seconds * 1000 + 500)) ] && [ "$copies" = 0 ]
}

# bench and serve: every call is right and in time, nothing is lost or dropped, and both sides count the same.
bench_keeps() {
    rm -rf "$out/bench"
    "$peerproof" bench callflow --mix piece=100 --rate "$1" --duration "${seconds}s" --warm-up 500ms --connections 1 \
        --contents 1 --size 64KiB --piece 16KiB --server-cores "$server" --cores "$client" --objective 0 \
        --limit 500ms --allowed-lag 500ms --allowed-busy 100 --allowed-starvation 100 --out "$out/bench" >"$out/bench.log" 2>&1 9>&- || return 1
    told=$(values "$out/bench/bench.json" server.cpu generator.cpu figures.counts.offered |
        awk '{ print $1 * 1e6 / $3, $2 * 1e6 / $3 }')
}

round=0
while [ "$round" -lt "$rounds" ]; do
    most sipp_keeps 4000 sipp
    most bench_keeps 4000 bench
    round=$((round + 1))
done
for side in sipp bench; do
    echo "$(spread "$side" 1) $(spread "$side" 2) $(spread "$side" 3)" | awk -v n="calls, $side" '{
        printf "%-24s %8.0f /s (%.0f to %.0f)  CPU %.1f µs a call where it is answered (%.1f to %.1f), %.1f µs where it is made (%.1f to %.1f)\n", n, $1, $2, $3, $4, $5, $6, $7, $8, $9
    }'
done
ratio bench sipp
awk -v a="$(median bench 3)" -v b="$(median sipp 3)" 'BEGIN {
    printf "calls|bench: CPU %.1f µs where made|sipp: %.1f µs|%.2f|less is better\n", a, b, a / b
}' >>"$out/ratios"
