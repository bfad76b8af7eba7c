#!/usr/bin/env bash
# What the action does between build and upload: starts the vendor's implementation, runs peerproof, and puts the
# Markdown report on the job's page. It takes its inputs from the environment, so it can be tried without a workflow:
#   PEERPROOF=target/debug/peerproof SELECTORS='--tag smoke' OUT=report ci/action/run.sh
# In a workflow it ends with 0 and tells the exit code, so that the reports are kept before the job fails.
# shellcheck disable=SC2317 # finish and interrupt are called by traps
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peerproof=${PEERPROOF:-$here/../../target/release/peerproof}
out=${OUT:-peerproof-report}
out=${out%/}
# More is not shown on the page of a job.
longest_summary=1000000

started=
container=
judge=
interrupted=

error() {
  printf '::error title=peerproof::%s\n' "$*"
}

# Tells the exit code and where the reports are, if there are any.
end() {
  if [ -n "${GITHUB_OUTPUT:-}" ]; then
    printf 'exit-code=%s\nreport=%s\n' "$1" "${2:-}" >>"$GITHUB_OUTPUT"
    exit 0
  fi
  exit "$1"
}

wrong_usage() {
  error "$*"
  end 2
}

# What start says has a process group of its own: all of it is ended, however it is made up.
lives() {
  kill -0 -- "-$started" 2>/dev/null
}

finish() {
  trap '' INT TERM
  if [ -n "$started" ]; then
    kill -TERM -- "-$started" 2>/dev/null || true
    for _ in {1..20}; do
      if ! lives; then break; fi
      sleep 0.1
    done
    kill -KILL -- "-$started" 2>/dev/null || true
  fi
  if [ -n "$container" ]; then
    docker rm --force "$container" >/dev/null || true
  fi
}
trap finish EXIT

# A job that is cancelled: peerproof writes what it has, and that is kept too.
interrupt() {
  interrupted=yes
  if [ -n "$judge" ]; then
    kill -TERM "$judge" 2>/dev/null || true
  fi
}
trap interrupt INT TERM

# Selectors and arguments are words as they are typed: one or several lines, quotes where a word has blanks in it. Globs
# are peerproof's.
typed=$(printf '%s\n%s\n' "${SELECTORS:-}" "${ARGUMENTS:-}" | xargs -r printf '%s\n' 2>&1) ||
  wrong_usage "selectors, arguments: $typed"
words=()
if [ -n "$typed" ]; then
  mapfile -t words <<<"$typed"
fi

if [ -e "$out/results.json" ]; then
  wrong_usage "out: found a run in $out already, expected a new folder"
fi
if [ -n "${START:-}" ] && [ -n "${IMAGE:-}" ]; then
  wrong_usage "found both start and image, expected one of them"
fi
if [ -n "${SUT:-}" ] && [ ! -f "$SUT" ]; then
  wrong_usage "sut: found no file $SUT in $PWD, expected a profile (peerproof init writes one)"
fi
# Without that, our own nodes would pass in its place.
if [ -n "${START:-}${IMAGE:-}" ] && [[ " ${words[*]-} " != *" --sut"[\ =]* ]]; then
  if [ -z "${SUT:-}" ]; then
    wrong_usage "something is started and nothing says how it is reached: expected sut, a profile with [[guest]]"
  elif ! grep -Eq '^[[:space:]]*(\[\[[[:space:]]*guest|guest[[:space:]]*=)' "$SUT"; then
    wrong_usage "something is started and $SUT does not say how it is reached: expected a [[guest]] with its address"
  fi
fi

if [ -n "${START:-}" ]; then
  set -m
  bash -c "$START" </dev/null &
  started=$!
  set +m
fi
if [ -n "${IMAGE:-}" ]; then
  container=$(docker run --detach --network host "$IMAGE") || {
    error "image: $IMAGE could not be started"
    end 7
  }
fi

arguments=(run --format github --report "junit,markdown,html,ctrf" --out "$out")
if [ -n "${SUT:-}" ]; then
  arguments+=(--sut "$SUT")
fi

if [ -n "$interrupted" ]; then
  end 130
fi
code=0
"$peerproof" "${arguments[@]}" ${words[@]+"${words[@]}"} &
judge=$!
if [ -n "$interrupted" ]; then
  interrupt
fi
wait "$judge" || code=$?
# A signal ends the waiting, not what is waited for.
while kill -0 "$judge" 2>/dev/null; do
  code=0
  wait "$judge" || code=$?
done

# Whoever ended before we ended it was not there for all of it, whatever the verdicts say. What puts itself into the
# background ends well.
ended=
if [ -n "$started" ] && ! kill -0 "$started" 2>/dev/null; then
  status=0
  wait "$started" 2>/dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    ended="start: the command ended by itself with status $status: $START"
  fi
fi
if [ -n "$container" ] && [ "$(docker inspect --format '{{.State.Running}}' "$container")" != true ]; then
  docker logs --tail 50 "$container" || true
  ended="image: $IMAGE ended by itself with status $(docker inspect --format '{{.State.ExitCode}}' "$container")"
fi
if [ -n "$ended" ] && [ -z "$interrupted" ]; then
  error "$ended"
  if [ "$code" -eq 0 ]; then
    code=7
  fi
fi

report=
if [ -f "$out/results.json" ]; then
  report=$out
fi
if [ -n "$report" ] && [ "${REDACT:-true}" = true ]; then
  report=$out-redacted
  redacted=0
  "$peerproof" report "$out" --redact --out "$report" --report junit,markdown,html,ctrf --pcap on-fail >/dev/null ||
    redacted=$?
  if [ ! -f "$report/results.json" ]; then
    error "the report could not be drawn: exit code $redacted"
    code=70
    report=
  fi
fi

if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -n "$report" ] && [ -f "$report/report.md" ]; then
  if [ "$(wc -c <"$report/report.md")" -le "$longest_summary" ]; then
    cat "$report/report.md" >>"$GITHUB_STEP_SUMMARY"
  else
    echo "The report is too long for this page: it is report.md of the artefact." >>"$GITHUB_STEP_SUMMARY"
  fi
fi
end "$code" "$report"
