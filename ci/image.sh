#!/bin/sh
# The image of ci/Containerfile, built and tried by an engine, as ci/engine.sh gets it (KEEP=1 leaves its packages). Where
# no registry gives the image it is built on, a stand-in for that is made of this machine: its compilers, its Rust, and
# the crates that it has fetched. Usage: ci/image.sh
set -eu
cd "$(dirname "$0")/.."
here=$PWD
. ci/engine.sh

image=peerproof-tried:$$
judge=peerproof-judge:$$
vendor=peerproof-vendor:$$
label=peerproof.tried=$$
largest=$((64 * 1024 * 1024))
base=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' ci/Containerfile)
base_is_ours=
folder=$(mktemp -d)

remove_rest() {
    say "removing what was built and run"
    docker ps --all --quiet --filter "label=$label" | xargs -r docker rm --force > /dev/null || true
    docker image rm --force "$vendor-good" "$vendor-bad" "$judge" "$image" > /dev/null 2>&1 || true
    # What the build was cut off in, and its first stage, which has no name.
    docker ps --all --quiet --filter "ancestor=$base" | { [ -z "$base_is_ours" ] || xargs -r docker rm --force; } > /dev/null || true
    docker image ls --quiet --filter dangling=true --filter "label=$label" | xargs -r docker image rm --force > /dev/null || true
    if [ -n "$base_is_ours" ]; then docker image rm --force "$base" > /dev/null || true; fi
    rm -rf "$folder"
}

fail() {
    say "NOT GOOD: $*"
    exit 1
}

# As anybody, on a file system that cannot be written, without a network; what it leaves goes into the folder.
tried() {
    patiently docker run --rm --label "$label" --network none --read-only --user 4711:4711 \
        --volume "$folder:/runs" "$image" "$@"
}

stand_in() {
    sysroot=$(rustc --print sysroot)
    cargo=${CARGO_HOME:-$HOME/.cargo}
    triplet=$(gcc -print-multiarch)
    cargo fetch --locked --quiet
    set --
    for path in /bin /sbin /lib /lib64 /usr/bin /usr/sbin /usr/lib64 /usr/include /usr/lib/gcc /usr/libexec/gcc \
        "/usr/lib/$triplet" /usr/share/ca-certificates /etc/alternatives /etc/group /etc/ld.so.cache /etc/ld.so.conf \
        /etc/ld.so.conf.d /etc/passwd /etc/ssl/certs "$sysroot/bin" "$sysroot/lib" "$cargo/config.toml" \
        "$cargo/registry/index" "$cargo/registry/cache"; do
        if [ -e "$path" ]; then set -- "$@" "${path#/}"; fi
    done
    mkdir "$folder/usual"
    chmod 1777 "$folder/usual"
    tar --create --directory / "$@" --directory "$folder" --transform 's,^usual$,tmp,' usual |
        docker import --change "ENV PATH=$sysroot/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=$cargo" - "$base" > /dev/null
}

# The action with an image of a vendor's, judged by the image that was built: this machine need not have peerproof.
judged() {
    cd "$folder"
    export PEERPROOF=./peerproof IMAGE="$vendor-$1" SUT=sut.toml OUT="$1"
    export ARGUMENTS='--authority tls'
    SELECTORS=common/tracker-protocol/answers-error-2-to-an-earlier-version exec "$here/ci/action/run.sh"
}

say "what it is built on: $base"
if docker image inspect "$base" > /dev/null 2>&1; then
    echo "it is there already"
elif patiently timeout 600 docker pull --quiet "$base" 2> "$folder/refused"; then
    base_is_ours=yes
else
    cat "$folder/refused"
    echo "STAND-IN: no registry gives it, so it is made of this machine. What is built and tried below does not show that"
    echo "the true $base has all the build needs, nor that the crates can be had from there."
    base_is_ours=yes
    stand_in
fi

say "building"
began=$(date +%s)
patiently docker build --network host --label "$label" --file ci/Containerfile --tag "$image" . > "$folder/built" 2>&1 ||
    { tail -40 "$folder/built"; fail "it is not built"; }
grep -i 'build context' "$folder/built" || true
echo "built in $(($(date +%s) - began)) s"

say "what it is"
size=$(docker image inspect --format '{{.Size}}' "$image")
user=$(docker image inspect --format '{{.Config.User}}' "$image")
echo "$((size / 1024 / 1024)) MiB, as $user"
[ "$size" -le "$largest" ] || fail "found $size octets, expected at most $largest"
case $user in '' | 0 | 0:* | root | root:*) fail "it runs as root" ;; esac
docker create --label "$label" "$image" > "$folder/id"
docker export "$(cat "$folder/id")" | tar --list | sort

say "what it does"
chmod 1777 "$folder"
tried --version
tried users --help > "$folder/users"
grep -q -e --think "$folder/users" || fail "the feature users is not in"
tried run --tag smoke --out smoke --report junit,html
tried run 'common/tracker-on-ut/*' --transport sockets --out sockets
[ "$(stat --format %u "$folder/smoke/results.json")" = 4711 ] || fail "what it leaves is somebody else's"
tried prove common/tracker-protocol/answers-error-2-to-an-earlier-version

say "what it does without a folder of ours, as who it is"
patiently docker run --rm --label "$label" --network none "$image" run --tag smoke > "$folder/alone" ||
    { tail -20 "$folder/alone"; fail "it needs a folder"; }
tail -4 "$folder/alone"

# A figure is refused where the machine is busy; that is no fault of the image.
measured() {
    status=0
    tried "$@" || status=$?
    case $status in
        0) ;;
        6) echo "NOT DONE: this machine is too busy to be measured on" ;;
        *) fail "found $status, expected 0 or 6" ;;
    esac
}
say "what it measures"
measured bench tracker --rate 500 --duration 2s
measured users --users 20 --duration 2s

# A tracker of ours is the vendor's, once as it ought to be, once with a rule broken. It is played one scenario alone, so
# it has nothing to forget.
say "the action judges an image"
cat > "$folder/peerproof" <<END
#!/bin/sh
exec docker run --rm --label $label --network host --user 4711:4711 --volume $folder:/runs $judge "\$@"
END
chmod +x "$folder/peerproof"
tried init sut.toml --sut tracker --authority tls
cat >> "$folder/sut.toml" <<END
[[guest]]
name    = "tracker"
address = "127.0.113.40"
reset   = "true"
END
mkdir "$folder/context"
cp -R "$folder/tls" "$folder/context/"
# A reset hook takes a shell.
docker build --quiet --label "$label" --tag "$judge" --file - "$folder/context" > "$folder/built" 2>&1 <<END ||
FROM $image AS program
FROM $base
COPY --from=program /peerproof /peerproof
WORKDIR /runs
ENTRYPOINT ["/peerproof"]
END
    { cat "$folder/built"; fail "no judge"; }
for kind in good bad; do
    case $kind in
        good) deviation='' expected=0 ;;
        bad) deviation=', "--deviation", "tracker-takes-any-version"' expected=1 ;;
    esac
    docker build --quiet --label "$label" --tag "$vendor-$kind" --file - "$folder/context" > "$folder/built" 2>&1 <<END ||
FROM $image
COPY --chown=65532:65532 tls /tls
CMD ["node", "tracker", "--authority", "/tls"$deviation]
END
        { cat "$folder/built"; fail "no vendor"; }
    status=0
    patiently judged "$kind" || status=$?
    [ "$status" -eq "$expected" ] || fail "found $status, expected $expected"
    for report in report.html junit.xml report.md; do
        [ -s "$folder/$kind-redacted/$report" ] || fail "there is no $report"
    done
    [ -z "$(docker ps --all --quiet --filter "ancestor=$vendor-$kind")" ] || fail "it still runs"
done

say "all good"
