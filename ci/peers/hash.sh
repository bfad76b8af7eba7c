# Octets a second that bench takes from serve and holds to their SHA-256, every one, on one core, beside what openssl makes of
# octets that are in memory already. bench is to be the limit here, so much of its lag and all of its core are allowed. What is
# kept has its answers within 100 ms: with longer a queue may grow to the end of a short run, and more seems kept than is.
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
        --limit 100ms --allowed-lag 10ms --allowed-busy 100 --allowed-starvation 100 --out "$out/bench" >"$out/bench.log" 2>&1 9>&- || return 1
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
    awk '{ print $1 / $2 }' "$out/hash.${size}KiB" >"$out/hash.full-$size"
    echo "$(spread "${size}KiB" 1) $(median "${size}KiB" 2) $(spread "full-$size" 1)" | awk -v s="$size" '{
        printf "hash, bench, %4d KiB     %8.0f MiB/s (%.0f to %.0f), on its core %.0f %% of the time: %.0f MiB (%.0f to %.0f) in a second on it\n",
            s, $1 * s / 1024, $2 * s / 1024, $3 * s / 1024, $4 * 100, $5 * s / 1024, $6 * s / 1024, $7 * s / 1024
    }'
    now=$(median "full-$size" 1 | awk -v s="$size" '{ printf "%d", $1 * s }')
    [ "$now" -le "$best" ] || best=$now chosen=$size
done
# openssl counts the time it was on its core, so only the second line is free of whatever else runs there.
for of in "${chosen}KiB kept" "full-$chosen a_second_on_its_core"; do
    median "${of% *}" 1 | awk -v o="$(median openssl 1)" -v s="$chosen" -v w="${of#* }" '{
        gsub(/_/, " ", w)
        printf "hash|bench, pieces of %d KiB: %d MiB/s|openssl: %d MiB/s|%.2f|more is better; %s\n", s, $1 * s / 1024, o, $1 * s / 1024 / o, w
    }' >>"$out/ratios"
done
