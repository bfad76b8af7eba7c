# What asking costs: bench, which makes up each question when it is due and reads one answer in 16 whole, at nearly what serve
# carries; wrk with the same questions, written before, as fast as it can; wrk with one question to nginx. At half of that rate,
# where whoever asks sleeps between questions: how late bench's leave, beside how late anybody would be on that core, for the
# machine takes it away now and then.
# shellcheck shell=sh disable=SC2154,SC2034 # of ci/peers.sh, and for ci/peers/lib.sh
needs wrk=wrk nginx=nginx-light curl=curl python3=python3 || return 0
lists || return 0
ask() {
    case $1 in
        wrk-get) ask_nginx "$1" ;;
        wrk-find) ask_serve "$1" ;;
        bench) [ -n "$warming" ] || bench_asks bench 0.9 ;;
        half) [ -n "$warming" ] || bench_asks half 0.5 ;;
        pauses) [ -n "$warming" ] || taskset -c "$client" python3 "$here/pauses.py" "$seconds" >>"$out/client.lags-pauses" ;;
    esac
}
bench_asks() {
    side=$1
    carried=${carried:-$(median wrk-find 1)}
    rate=$(awk -v c="$carried" -v p="$2" 'BEGIN { print int(c * p) }')
    rm -rf "$out/bench"
    before=$(used serve)
    "$peerproof" bench tracker --questions report=0,join=0,leave=0 --peers 20000 --swarms 100 --rate "$rate" \
        --duration "${seconds}s" --warm-up 500ms --connections 32 --target "$address" --cores "$client" \
        --allowed-lag 1s --allowed-busy 100 --out "$out/bench" >"$out/bench.log" 2>&1 9>&- || fail "$(cat "$out/bench.log")"
    cpu=$(($(used serve) - before))
    # shellcheck disable=SC2046 # several values
    set -- $(values "$out/bench/bench.json" evidence.counts.answered evidence.busy figures.achieved-rate evidence.counts.octets)
    awk -v n="$1" -v busy="$2" -v rate="$3" -v o="$4" -v cpu="$cpu" -v t="$seconds" 'BEGIN {
        t += 0.5
        print rate, cpu / n, busy * t * 1e6 / n, cpu / t / 1e4, busy * 100, o / n
    }' >>"$out/client.$side"
    values "$out/bench/bench.json" figures.lag.p50 figures.lag.p99 figures.lag.p999 figures.lag.max >>"$out/client.lags-$side"
}
carried=
alternate ask wrk-get wrk-find bench half pauses
for of in bench half pauses; do
    for column in 1 2 3 4; do spread "lags-$of" "$column"; done | awk -v w="$of" '
        { v[NR] = sprintf("%.0f (%.0f to %.0f)", $1, $2, $3) }
        END { printf "client, %-16s µs late: p50 %s, p99 %s, p99.9 %s, most %s\n", w, v[1], v[2], v[3], v[4] }'
done
for side in wrk-find wrk-get; do
    awk -v s="$side" -v a="$(median bench 3)" -v b="$(median "$side" 3)" 'BEGIN {
        printf "client|bench: CPU %.1f µs|%s: %.1f µs|%.2f|less is better\n", a, s, b, a / b
    }' >>"$out/ratios"
done
awk -v a="$(median lags-half 3)" -v b="$(median lags-pauses 3)" 'BEGIN {
    printf "client|bench at half the rate: p99.9 %.0f µs late|the machine itself: %.0f µs|%s|1 is the least there can be\n", a, b, (b > 0 ? sprintf("%.2f", a / b) : "-")
}' >>"$out/ratios"
