#!/usr/bin/env bash
# What the action does between build and upload: starts the vendor's implementation, runs peerproof, and puts the
# Markdown report on the job's page. It takes its inputs from the environment, so it can be tried without a workflow:
#   PEERPROOF=target/debug/peerproof SELECTORS='--tag smoke' OUT=report ci/action/run.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peerproof=${PEERPROOF:-$here/../../target/release/peerproof}
out=${OUT:-peerproof-report}

started=
container=
finish() {
  if [ -n "$started" ]; then
    kill "$started" 2>/dev/null || true
  fi
  if [ -n "$container" ]; then
    docker rm --force "$container" >/dev/null || true
  fi
}
trap finish EXIT

if [ -n "${START:-}" ]; then
  bash -c "exec $START" &
  started=$!
fi
if [ -n "${IMAGE:-}" ]; then
  container=$(docker run --detach --network host "$IMAGE")
fi

arguments=(run --format github --report "junit,markdown,html,ctrf" --out "$out")
if [ -n "${SUT:-}" ]; then
  arguments+=(--sut "$SUT")
fi
# Selectors and arguments are lists of words, as they are typed.
read -r -a words <<<"${SELECTORS:-} ${ARGUMENTS:-}"

code=0
"$peerproof" "${arguments[@]}" ${words[@]+"${words[@]}"} || code=$?

report=$out
if [ "${REDACT:-true}" = true ] && [ -f "$out/results.json" ]; then
  report=$out-redacted
  redacted=0
  "$peerproof" report "$out" --redact --out "$report" --report junit,markdown,html,ctrf --pcap on-fail >/dev/null || redacted=$?
  # The verdict of the run is the exit code of its report too; anything else is a fault of the report itself.
  if [ "$redacted" -ne "$code" ]; then
    echo "::error title=peerproof::the report could not be drawn: exit code $redacted"
    code=$redacted
  fi
fi

if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$report/report.md" ]; then
  cat "$report/report.md" >>"$GITHUB_STEP_SUMMARY"
fi
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'exit-code=%s\nreport=%s\n' "$code" "$report" >>"$GITHUB_OUTPUT"
else
  exit "$code"
fi
