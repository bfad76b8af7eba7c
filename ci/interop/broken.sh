#!/bin/sh
# Can the suites see what is wrong with software of others? Kamailio's CSCFs, an nginx and a Varnish are broken on purpose,
# in ways that their configuration allows; each has to fail for the rule that is broken, and be blamed. Needs what run.sh has installed.
# Usage: ci/interop/broken.sh [PEERPROOF]
set -eu
cd "$(dirname "$0")/../.."

peerproof=${1:-target/release/peerproof}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
ci/interop/install.sh kamailio=kamailio+kamailio-ims-modules+kamailio-presence-modules nginx=nginx-light varnishd=varnish python3=python3
failed=0

# Who, what is broken, the rule that says so, and a scenario that shows it.
while read -r node broken requirement scenario; do
  status=0
  command="exec ci/interop/kamailio/start.py --broken $broken"
  suites=
  case $node in
    os-1)
      command="exec ci/interop/http/start.py nginx --broken $broken"
      suites="--suites ci/interop/http/suite"
      ;;
    es-1)
      command="exec ci/interop/http/start.py ${broken%/*}-edge --broken ${broken#*/}"
      case $scenario in
        */edge/*) suites="--suites ci/interop/http/suite" ;;
      esac
      ;;
  esac
  kept=$out/$node-$(echo "$broken" | tr / -)
  # shellcheck disable=SC2086 # two words, or none
  "$peerproof" run --sut "$node=cmd:$command" $suites "$scenario" --out "$kept" >"$kept.txt" 2>&1 || status=$?
  python3 - "$kept/results.json" "$node" "$broken" "$requirement" "$status" <<'PYTHON' || failed=1
import json, sys
path, node, broken, requirement, status = sys.argv[1:]
played = [i for i in json.load(open(path))["instances"] if i["outcome"] != "not-applicable"]
findings = [finding for instance in played for finding in instance["findings"]]
found = findings[0] if findings else {}
is_right = status == "1" and found.get("requirement") == requirement and found.get("node") == node
print(f"{'caught' if is_right else 'MISSED':<7} {node:<7} {broken:<24} {found.get('requirement')} by {found.get('node')}: "
      f"expected {found.get('expected')}, found {found.get('actual')}")
sys.exit(not is_right)
PYTHON
done <<'EOT'
p-cscf NO_PATH REG-006 common/registration/registers-with-sip-digest
p-cscf ASSERTS_NOTHING PCSCF-004 registered/step-4-core-routes-to-peers/asserts-the-identity-of-the-asker
p-cscf RECORDS_NO_ROUTE PCSCF-008 registered/step-4-core-routes-to-peers/stays-on-the-path-without-the-i-cscf
p-cscf LETS_ANYBODY_IN PCSCF-001 common/registration/lets-nobody-in-who-is-not-registered
p-cscf TELLS_UES_OF_CHARGING PCSCF-011 registered/step-4-core-routes-to-peers/tells-a-peer-neither-charging-nor-whereabouts
p-cscf TELLS_UES_THE_KEYS PCSCF-025 common/registration/keeps-the-keys-of-aka
i-cscf ASKS_NOBODY ICSCF-003 common/registration/asks-the-hss-at-each-step
s-cscf SUBSCRIBES_PAST_THE_AS SCSCF-006 registered/step-1-2-peer-list/brings-the-subscription-to-the-tracker
s-cscf TELLS_NO_AS REG-013 common/registration/registers-the-user-with-the-tracker
s-cscf RECORDS_NO_ROUTE SCSCF-011 registered/step-4-core-routes-to-peers/stays-on-the-path-without-the-i-cscf
os-1 ranges ORIG-001 unregistered/origin/gives-a-range
os-1 tags ORIG-004 unregistered/origin/gives-part-and-whole-one-tag
os-1 conditions ORIG-005 unregistered/origin/gives-nothing-again
es-1 nginx/ranges SERVE-001 unregistered/edge/gives-just-the-range
es-1 nginx/tags SERVE-004 unregistered/edge/gives-part-and-whole-one-tag
es-1 nginx/tokens EDGE-002 unregistered/step-5-controller-asks-edges/gives-nothing-without-a-token
es-1 nginx/digests EDGE-001 unregistered/step-5-controller-asks-edges/sends-nobody-to-what-is-not-right
es-1 varnish/tokens EDGE-002 unregistered/step-5-controller-asks-edges/gives-nothing-without-a-token
es-1 varnish/once SEC-014 unregistered/step-5-controller-asks-edges/takes-a-token-of-its-client-for-its-piece-once
EOT
exit $failed
