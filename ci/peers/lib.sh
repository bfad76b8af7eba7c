# What the pairs of ci/peers.sh share: servers that are started and ended, clients that are counted, medians, ratios.
# shellcheck shell=sh disable=SC2154 # $out, $rounds, $seconds, $server, $client, $peerproof, $here: of ci/peers.sh

# Programs that a pair needs, as ci/interop/install.sh takes them; false, and said aloud, if one cannot be had.
needs() {
    if ! ci/interop/install.sh "$@"; then
        skip "$pair needs $*"
        return 1
    fi
}
skip() { echo "SKIPPED: $*" | tee -a "$out/skipped"; }
fail() {
    echo "$*" >&2
    exit 1
}

# Starts a server on the core of servers; ended by `stop`. What it says goes to $out/NAME.log. It has an input that
# closes only when we end, and nothing else of ours open.
start() {
    name=$1
    shift
    rm -f "$out/$name.log"
    taskset -c "$server" "$@" <"$out/open" >"$out/$name.log" 2>&1 9>&- &
    echo "$!" >"$out/$name.pid"
    started="$started $!"
}

# Waits until a server has done what a command looks for; false, with its last words, if it ends before or takes too long.
ready() {
    name=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ] || ! kill -0 "$(cat "$out/$name.pid")" 2>/dev/null; then
            tail -n 5 "$out/$name.log" >&2
            skip "$pair, $name: it did not start"
            return 1
        fi
        sleep 0.1
    done
}

# Ends every server that was started, by force if it has to be, and waits for it.
stop() {
    # shellcheck disable=SC2086 # several processes
    [ -z "$started" ] || kill $started 2>/dev/null || true
    for pid in $started; do
        tries=0
        while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 50 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done
        # What a server started ends with it, unless it is ended by force.
        kill -9 "$pid" $(pgrep -P "$pid") 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    started=
}

# serve, under its own name; its address goes to $address.
serve() {
    start serve "$peerproof" serve "$@" --cores "$server"
    ready serve grep -q '^ready' "$out/serve.log" || fail "serve did not start"
    address=$(sed -n 's/^ready.*"\(127[0-9.:]*\)".*/\1/p' "$out/serve.log")
}

# nginx with whatever stands in $out/nginx/html.
nginx() {
    mkdir -p "$out/nginx/html"
    chmod -R a+rX "$out"
    start nginx nginx -p "$out/nginx" -c "$here/nginx.conf"
    ready nginx answers 18099/status
}
answers() { curl -sf --max-time 5 -o /dev/null "http://127.0.0.1:$1"; }

varnish() {
    start varnish varnishd -F -j none -T none -n "$out/varnish" -a 127.0.0.1:18098 -f "$here/varnish.vcl" \
        -s default=malloc,512m -p thread_pools=1 -p "vsl_mask=$unlogged"
    ready varnish answers 18098/content/c00000
}
# Varnish writes a log to memory whether anybody reads it or not: without what would say the most, as nobody logs here.
unlogged=-ReqStart,-ReqMethod,-ReqURL,-ReqProtocol,-ReqHeader,-ReqAcct,-RespProtocol,-RespStatus,-RespReason
unlogged=$unlogged,-RespHeader,-RespUnset,-ReqUnset,-VCL_call,-VCL_return,-VCL_use,-Timestamp,-Hit,-Begin,-End,-Link
unlogged=$unlogged,-SessOpen,-SessClose

trafficserver() {
    root=$out/trafficserver
    for folder in bin cache data etc include lib log modules run sbin state; do
        mkdir -p "$root/$folder"
    done
    cp "$here/trafficserver/"* "$root/etc/"
    mv "$root/etc/runroot.yaml" "$root/"
    start trafficserver traffic_server --run-root="$root"
    ready trafficserver answers 18097/content/c00000
}

# nginx with a file of as many octets as a list of ten peers has, and serve with swarms to make such lists of.
lists() {
    mkdir -p "$out/nginx/html"
    head -c 3300 /dev/zero | tr '\0' x >"$out/nginx/html/list"
    nginx || return 1
    serve tracker --peers 20000 --swarms 100
    least=3300
}
# Either of them asked by wrk for a list, by the name of the side.
ask_nginx() { wrk_asks "$1" nginx -c32 http://127.0.0.1:18099/list; }
ask_serve() { wrk_asks "$1" serve -c32 -s "$here/find.lua" "http://$address/"; }

# Eight contents of so many octets, as serve has them too.
contents() {
    mkdir -p "$out/nginx/html/content"
    for n in 0 1 2 3 4 5 6 7; do
        head -c "$1" /dev/urandom >"$out/nginx/html/content/c0000$n"
    done
}

# Puts all contents into a cache, and sees that it then asks its origin for nothing.
warm() {
    for n in 0 1 2 3 4 5 6 7; do answers "$2/content/c0000$n"; done
    sleep 1
    before=$(asked)
    for n in 0 1 2 3 4 5 6 7; do answers "$2/content/c0000$n"; done
    if [ "$(asked)" -ne $((before + 1)) ]; then
        skip "$pair, $1: it does not keep what it fetched"
        return 1
    fi
}
asked() { curl -s http://127.0.0.1:18099/status | awk 'NR == 3 { print $3 }'; }

# The four servers of contents of so many octets, asked by one script of wrk.
edges() {
    needs wrk=wrk nginx=nginx-light curl=curl || return 0
    contents "$1"
    nginx || return 0
    sides=nginx
    if needs varnishd=varnish && varnish && warm varnish 18098; then sides="$sides varnish"; fi
    if needs traffic_server=trafficserver && trafficserver && warm trafficserver 18097; then
        sides="$sides trafficserver"
    fi
    serve edge-server --contents 8 --size "$1"
    # shellcheck disable=SC2086 # several sides
    alternate edge $sides serve
    # shellcheck disable=SC2086 # likewise
    ratio serve $sides
}
# One of them.
edge() {
    case $1 in
        nginx) at=127.0.0.1:18099 ;;
        varnish) at=127.0.0.1:18098 ;;
        trafficserver) at=127.0.0.1:18097 ;;
        *) at=$address ;;
    esac
    wrk_asks "$1" "$1" -c8 -s "$here/$pair.lua" "http://$at/"
}

# Every side in turn, round after round, the first time unmeasured; `$1 SIDE` runs one. Then a line for each.
alternate() {
    one=$1
    shift
    warming=1
    for side in "$@"; do "$one" "$side"; done
    warming=
    round=0
    while [ "$round" -lt "$rounds" ]; do
        for side in "$@"; do "$one" "$side"; done
        round=$((round + 1))
    done
    for side in "$@"; do show "$side"; done
}

# Time a server was on its core, and all that it started, in microseconds.
used() {
    process=$(cat "$out/$1.pid")
    for pid in "$process" $(pgrep -P "$process"); do cat "/proc/$pid/stat"; done 2>/dev/null |
        awk '{ sub(/.*\) /, ""); t += $12 + $13 } END { printf "%.0f\n", t * 10000 }'
}
# Time that what ended and was waited for was on a core, in microseconds, between two records of `times`.
children() {
    awk 'FNR == 2 { split($1, u, /[ms]/); split($2, s, /[ms]/); t = ((u[1] + s[1]) * 60 + u[2] + s[2]) * 1e6 - t }
        END { printf "%.0f\n", t }' "$out/$1" "$out/$2"
}

# One run of wrk: a line of $out/PAIR.SIDE with the rate, the server's CPU a request and the client's in microseconds, the
# share of its core that each had, and the octets of an answer. Ends everything if an answer was no success or too short;
# $ends is set where a server ends each connection, which wrk counts as an error of reading.
wrk_asks() {
    side=$1 server_name=$2
    shift 2
    before=$(used "$server_name")
    times >"$out/before"
    taskset -c "$client" wrk -t1 "-d${warming:-$seconds}s" "$@" >"$out/wrk" 2>&1 9>&- || fail "$(cat "$out/wrk")"
    times >"$out/after"
    after=$(used "$server_name")
    grep -q 'Non-2xx' "$out/wrk" && fail "$pair, $side: some answers were no success"
    if [ -z "${ends:-}" ] && grep 'Socket errors' "$out/wrk"; then fail "$pair, $side: some requests were not answered"; fi
    awk -v server="$((after - before))" -v client="$(children before after)" '
        function octets(s) { u = index("KMGT", substr(s, length(s) - 1, 1)); return s * 1024 ^ u }
        / requests in / { n = $1; t = $4 + 0; o = octets($5) }
        END { if (n) print n / t, server / n, client / n, server / t / 1e4, client / t / 1e4, o / n }' "$out/wrk" >"$out/line"
    awk -v least="${least:-1}" '$6 < least * 0.99 { exit 1 } END { if (!NR) exit 1 }' "$out/line" ||
        fail "$pair, $side: answers are too short: $(cat "$out/line")"
    [ -n "$warming" ] || cat "$out/line" >>"$out/$pair.$side"
}

# Median, least and most of a column.
spread() {
    sort -n -k "$2,$2" "$out/$pair.$1" |
        awk -v c="$2" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)], v[1], v[NR] }'
}
median() { spread "$1" "$2" | cut -d ' ' -f 1; }

# One side: what it carries, what it costs, who was at the limit.
show() {
    [ -s "$out/$pair.$1" ] || return 0
    echo "$(spread "$1" 1) $(spread "$1" 2) $(spread "$1" 3) $(median "$1" 4) $(median "$1" 5) $(median "$1" 6)" |
        awk -v n="$pair, $1" '{
            printf "%-24s %8.0f /s (%.0f to %.0f)  server %.1f µs a request (%.1f to %.1f), %.0f %% of its core", n, $1, $2, $3, $4, $5, $6, $10
            printf "  client %.1f µs (%.1f to %.1f), %.0f %%  %.0f octets an answer", $7, $8, $9, $11, $12
            print ($11 > 90 ? "  LIMIT: the client" : $10 < 85 ? "  LIMIT: neither core was full" : "")
        }'
}

# Ours beside the best of the others, for the table at the end.
ratio() {
    ours=$1
    shift
    [ -s "$out/$pair.$ours" ] || return 0
    for side in "$@"; do
        [ -s "$out/$pair.$side" ] && echo "$side $(median "$side" 1) $(median "$side" 2)"
    done >"$out/others"
    awk -v p="$pair" -v o="$ours" -v a="$(median "$ours" 1)" -v c="$(median "$ours" 2)" -v busy="$(median "$ours" 5)" \
        -v full="$(median "$ours" 4)" '
        NR == 1 || $2 > rate { rate = $2; fastest = $1 }
        NR == 1 || $3 < cpu { cpu = $3; cheapest = $1 }
        END {
            if (!NR) exit
            note = busy > 90 ? "; the client was the limit: only the CPU says something" : full != "" && full < 85 ? "; no core was full: only the CPU says something" : ""
            row(p, sprintf("%s: %.0f /s", o, a), sprintf("%s: %.0f /s", fastest, rate), a / rate, "more is better" note)
            row(p, sprintf("%s: CPU %.1f µs", o, c), sprintf("%s: %.1f µs", cheapest, cpu), c / cpu, "less is better")
        }
        function row(p, a, b, r, n) { printf "%s|%s|%s|%.2f|%s\n", p, a, b, r, n }' "$out/others" >>"$out/ratios"
}
row() { echo "$*" >>"$out/ratios"; }

# The most of something that is kept: $1 RATE says whether it is, and puts what else there is to tell into $told. From $2 on,
# halved until it is kept, then a quarter more each time. Prints "RATE TOLD" as a line of $out/PAIR.$3.
most() {
    rate=$2 kept='' tries=0
    until "$1" "$rate"; do
        rate=$((rate / 2)) tries=$((tries + 1))
        [ "$tries" -le 5 ] || fail "$pair, $3: nothing was kept, not even $rate a second"
    done
    while kept="$rate $told" rate=$((rate * 5 / 4)) && "$1" "$rate"; do :; done
    echo "$kept" >>"$out/$pair.$3"
}

# Values of a bench.json, by their paths.
values() {
    python3 - "$@" <<'PY'
import json, sys

trial = json.load(open(sys.argv[1]))
for path in sys.argv[2:]:
    value = trial
    for name in path.split("."):
        value = value[name]
    print(value, end=" ")
print()
PY
}
