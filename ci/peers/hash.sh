# Octets a second that bench takes from serve and holds to their SHA-256, every one, on one core, beside what openssl makes of
# octets that are in memory already. bench is to be the limit here, so much of its lag and all of its core are allowed.
# shellcheck shell=sh disable=SC2154,SC2034 # of ci/peers.sh, and for ci/peers/lib.sh
needs openssl=openssl python3=python3 || return 0
hashes() {
    taskset -c "$client" openssl speed -evp sha256 -bytes 65536 -seconds 2 2>/dev/null |
        awk '/^sha256/ { print $NF * 1000 / 1048576 }'
}
bench_keeps() {
    rm -rf "$out/bench"
    "$peerproof" bench chunks --read-whole 1 --rate "$1" --duration "${seconds}s" --warm-up 500ms --connections 8 \
        --contents 8 --size 16MiB --piece "$piece" --server-cores "$server" --cores "$client" --objective 1 \
        --allowed-lag 10ms --allowed-busy 100 --allowed-starvation 100 --out "$out/bench" >"$out/bench.log" 2>&1 9>&- || return 1
    told=$(values "$out/bench/bench.json" evidence.busy)
}
round=0
while [ "$round" -lt "$rounds" ]; do
    hashes >>"$out/hash.openssl"
    for size in 64 1024; do
        piece=${size}KiB
        # From two tenths of what openssl does.
        most bench_keeps "$(median openssl 1 | awk -v s="$size" '{ printf "%d", $1 * 1024 / s / 5 }')" "$piece"
    done
    round=$((round + 1))
done
spread openssl 1 | awk '{ printf "hash, openssl            %8.0f MiB/s (%.0f to %.0f)\n", $1, $2, $3 }'
best=0
for size in 64 1024; do
    spread "${size}KiB" 1 | awk -v s="$size" -v b="$(median "${size}KiB" 2)" '{
        printf "hash, bench, %4d KiB     %8.0f MiB/s (%.0f to %.0f), its core busy %.0f %%\n", s, $1 * s / 1024, $2 * s / 1024, $3 * s / 1024, b * 100
    }'
    now=$(median "${size}KiB" 1 | awk -v s="$size" '{ printf "%d", $1 * s / 1024 }')
    [ "$now" -le "$best" ] || best=$now piece="$size KiB"
done
median openssl 1 | awk -v b="$best" -v p="$piece" '{
    printf "hash|bench, pieces of %s: %d MiB/s|openssl: %d MiB/s|%.2f|more is better; steps of a quarter\n", p, b, $1, b / $1
}' >>"$out/ratios"
