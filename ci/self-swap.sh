#!/bin/sh
# Each of our own nodes, as a guest in a process of its own, comes to the verdicts that it comes to within. Plays what
# applies to each node over sockets, and compares it with the built-in run over sockets. Takes long; a part of it is in
# suites/selftest/guests.rs. Usage: ci/self-swap.sh PEERPROOF [SELECTOR…]
set -eu
peerproof=$(readlink -f "$1")
shift
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0

# What a run came to, one instance a line; what was not played is left out.
verdicts() {
    python3 - "$1/results.json" <<'PYTHON'
import json, sys
for i in json.load(open(sys.argv[1]))["instances"]:
    if i["outcome"] not in ("not-applicable", "unsupported"):
        print(i["id"], i["outcome"])
PYTHON
}

"$peerproof" run --transport sockets --out "$out/within" "$@" > "$out/within.txt" || true
verdicts "$out/within" > "$out/within.verdicts"

for node in ue-a ue-b ue-c ue-d p-cscf i-cscf s-cscf hss tracker es-1 es-2 os-1 ctrl ims-core; do
    status=0
    "$peerproof" run --sut "$node=cmd:'$peerproof' node $node" --out "$out/$node" "$@" > "$out/$node.txt" 2>&1 || status=$?
    case $status in
        # What the core says within itself, nobody sees: inconclusive, and told apart below.
        0 | 1 | 3 | 4) ;;
        *) printf '%s: exit code %s\n' "$node" "$status"; tail -5 "$out/$node.txt"; failed=1; continue ;;
    esac
    verdicts "$out/$node" > "$out/$node.verdicts"
    unseen=0
    if [ "$node" = ims-core ]; then
        unseen=$(grep -c ' inconclusive$' "$out/$node.verdicts" || true)
        sed -i '/ inconclusive$/d' "$out/$node.verdicts"
    fi
    other=$(grep -vxFf "$out/within.verdicts" "$out/$node.verdicts" || true)
    printf '%-9s %s verdicts, %s unseen\n' "$node" "$(wc -l < "$out/$node.verdicts")" "$unseen"
    if [ -n "$other" ]; then
        printf 'other than within:\n%s\n' "$other"
        failed=1
    fi
done
exit $failed
