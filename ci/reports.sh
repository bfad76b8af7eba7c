#!/bin/sh
# Do others accept our reports? Holds those of a run to the schemas of their consumers, which are theirs and not kept
# here: JUNIT_XSD names the schema of a JUnit consumer (the xUnit plugin of Jenkins publishes junit-10.xsd),
# CTRF_SCHEMA that of CTRF (in the npm package ctrf). results.json is held to our own. Says aloud what it could not
# check. Usage: [JUNIT_XSD=FILE] [CTRF_SCHEMA=FILE] ci/reports.sh RUN-FOLDER
set -eu
run=$1
here=$(cd "$(dirname "$0")/.." && pwd)

if [ -z "${JUNIT_XSD:-}" ]; then
  echo "SKIPPED: JUNIT_XSD names no schema, so no consumer's schema has seen junit.xml"
elif ! command -v xmllint >/dev/null 2>&1; then
  echo "SKIPPED: xmllint is not installed, so no consumer's schema has seen junit.xml"
else
  xmllint --noout --schema "$JUNIT_XSD" "$run/junit.xml"
fi

if ! python3 -c 'import jsonschema' 2>/dev/null; then
  echo "SKIPPED: python3 with jsonschema is not installed, so no schema has seen results.json and ctrf.json"
  exit 0
fi
hold() {
  python3 - "$1" "$2" <<'EOF'
import json, sys
import jsonschema

schema, document = (json.load(open(path)) for path in sys.argv[1:])
checker = jsonschema.validators.validator_for(schema)
checker.check_schema(schema)
wrong = list(checker(schema).iter_errors(document))
for error in wrong[:20]:
    print(f"{sys.argv[2]}: {error.json_path}: {error.message[:200]}")
if not wrong:
    print(f"{sys.argv[2]} validates")
sys.exit(bool(wrong))
EOF
}
hold "$here/reports/results.schema.json" "$run/results.json"
if [ -n "${CTRF_SCHEMA:-}" ]; then
  hold "$CTRF_SCHEMA" "$run/ctrf.json"
else
  echo "SKIPPED: CTRF_SCHEMA names no schema, so none has seen ctrf.json"
fi
