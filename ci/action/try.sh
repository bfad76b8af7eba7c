#!/bin/sh
# The action, carried out by ci/action/play.py as by a runner: what passes, what fails, what never starts, what is
# cancelled, and what is told wrongly. The step that builds is played as well: it finds what cargo build --release has
# left in target/, or builds it. Usage: ci/action/try.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
peerproof=${CARGO_TARGET_DIR:-$here/../../target}/release/peerproof

if ! python3 -c 'import yaml' 2> /dev/null; then
    echo "SKIPPED: PyYAML is not installed, so the action was not carried out"
    exit 0
fi

folder=$(mktemp -d)
player=
clean_up() {
    status=$?
    trap - EXIT
    if [ -n "$player" ]; then kill -INT "$player" 2> /dev/null || true; fi
    rm -rf "$folder"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

workspace="$folder/a work space"
mkdir "$workspace"
case=

fail() {
    echo "NOT GOOD: $case: $*"
    if [ -f "$folder/$case/log" ]; then tail -40 "$folder/$case/log"; fi
    exit 1
}

# played CASE STATUS INPUT=VALUE...: the job ends with that status.
played() {
    case=$1 expected=$2
    shift 2
    mkdir "$folder/$case"
    for input in "$@"; do
        set -- "$@" --with "$input"
        shift
    done
    status=0
    python3 "$here/play.py" "$here" --workspace "$workspace" --into "$folder/$case" "$@" > "$folder/$case/log" 2>&1 ||
        status=$?
    [ "$status" -eq "$expected" ] || fail "the job ended with $status, expected $expected"
    echo "$case: $expected, as it ought to be"
}

says() {
    grep -qF -e "$1" "$folder/$case/log" || fail "the log does not say: $1"
}

# What is published: the reports in the artefact, and the Markdown on the job's page.
publishes() {
    for report in report.html junit.xml report.md results.json; do
        [ -s "$folder/$case/artifacts/$1/$report" ] || fail "there is no $report in the artefact $1"
    done
    cmp -s "$folder/$case/artifacts/$1/report.md" "$folder/$case/summary.md" || fail "the page of the job is not report.md"
}

publishes_nothing() {
    [ ! -e "$folder/$case/artifacts" ] || fail "something is published"
    [ ! -s "$folder/$case/summary.md" ] || fail "something is on the page of the job"
}

played passes 0 'selectors=--tag smoke'
publishes peerproof-conformance

# A tracker of ours is the vendor's. A network of its own, so that no other run on this machine has its addresses.
(cd "$workspace" && "$peerproof" init 'a profile.toml' --sut tracker --network 177 > /dev/null 2>&1)
cat >> "$workspace/a profile.toml" << 'END'
[[guest]]
name    = "tracker"
address = "127.177.113.40"
trigger = { post = "http://127.177.113.40:9000/" }
END
node="'$peerproof' node tracker --network 177 --control 127.177.113.40:9000"
versions='common/tracker-protocol/answers-error-2-*'
# Whether it takes connections: orders at once, messages once it was told by one.
there() {
    python3 -c 'import socket; socket.create_connection(("127.177.113.40", 9000), 5).close()' 2> /dev/null
}
gone() {
    if there; then fail "what was started is there still"; fi
}

# A script of more than one command, arguments on several lines, and names with blanks in them.
played starts 0 'sut=a profile.toml' "start=cd / && LANG=C $node" 'out=what came of it/' "selectors=$versions" \
    'artifact=with blanks' 'arguments=
    --network 177
    --ladder "no such thing, nor this"
'
publishes 'peerproof-with blanks'
gone

played deviates 1 'sut=a profile.toml' "start=$node --deviation tracker-takes-any-version" 'out=deviates' \
    "selectors=$versions" 'arguments=--network 177'
publishes peerproof-conformance
says '::error'
grep -q '<failure' "$folder/$case/artifacts/peerproof-conformance/junit.xml" || fail "JUnit tells no failure"
gone

played never-starts 7 'sut=a profile.toml' 'start=no-such-tracker --port 1' 'out=never' \
    "selectors=$versions" 'arguments=--network 177'
says 'start: the command ended by itself with status 127: no-such-tracker --port 1'

# Cancelled while it plays: what there is by then is published, and what was started is gone.
case=cancelled
mkdir "$folder/$case"
mkfifo "$folder/plays"
python3 "$here/play.py" "$here" --workspace "$workspace" --into "$folder/$case" --with 'sut=a profile.toml' \
    --with "start=$node" --with 'arguments=--network 177' --with out=cancelled > "$folder/plays" 2>&1 &
player=$!
while read -r line; do
    echo "$line"
    case $line in *' PASS '*)
        if there; then touch "$folder/was-there"; fi
        kill -INT "$player"
        ;;
    esac
done < "$folder/plays" > "$folder/$case/log"
status=0
wait "$player" || status=$?
player=
[ "$status" -ne 0 ] || fail "the job ended with 0"
[ -e "$folder/was-there" ] || fail "what was started was not there while it was played"
publishes peerproof-conformance
gone
echo "$case: published what there was"

# What is told wrongly is never taken for a verdict.
played no-profile 2 "start=$node" 'out=no-profile'
says 'nothing says how it is reached'
publishes_nothing
(cd "$workspace" && "$peerproof" init ours.toml --sut tracker > /dev/null 2>&1)
played no-guest 2 'sut=ours.toml' "start=$node" 'out=no-guest'
says 'ours.toml does not say how it is reached'
publishes_nothing
played two 2 'sut=a profile.toml' "start=$node" 'image=acme/tracker' 'out=two'
says 'found both start and image'
played no-file 2 'sut=nowhere.toml' 'out=no-file'
says 'found no file nowhere.toml'
played quotes 2 "arguments=--tag 'smoke" 'out=quotes'
says 'unmatched single quote'
played again 2 'out=deviates'
says 'found a run in deviates already'
publishes_nothing
played no-argument 2 'arguments=--no-such-argument' 'out=no-argument'
says '--no-such-argument'
publishes_nothing
echo "the action does what it says"
