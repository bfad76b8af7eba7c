#!/bin/sh
# Are the files valid that other programs read: workflows, the action, scripts, the container file? Says aloud what it
# could not check. Usage: ci/files.sh
set -eu
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED: $1 is not installed, so $2"; }

for script in ci/*.sh ci/interop/*.sh ci/action/run.sh .ci/run; do
  case $(head -n 1 "$script") in
    *bash) bash -n "$script" ;;
    *) sh -n "$script" ;;
  esac
done

if command -v python3 >/dev/null 2>&1 && python3 -c 'import yaml' 2>/dev/null; then
  python3 - <<'EOF'
import sys, yaml

workflow = yaml.safe_load(open(".github/workflows/ci.yml"))
action = yaml.safe_load(open("ci/action/action.yml"))
wrong = []
if not workflow.get("jobs"):
    wrong.append(".github/workflows/ci.yml has no jobs")
steps = action["runs"]["steps"]
if action["runs"]["using"] != "composite" or not steps:
    wrong.append("ci/action/action.yml is no composite action")
wrong += [f"step {s.get('name')} runs without a shell" for s in steps if "run" in s and "shell" not in s]
text = open("ci/action/action.yml").read()
wrong += [f"input {name} is never used" for name in action["inputs"] if f"inputs.{name} " not in text]
ids = {s.get("id") for s in steps}
for name, output in action["outputs"].items():
    step = output["value"].split("steps.")[1].split(".")[0]
    if step not in ids:
        wrong.append(f"output {name} is of the step {step}, which is not there")
print("\n".join(wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
EOF
else
  skip "PyYAML" "the workflow and the action were not read"
fi

if command -v actionlint >/dev/null 2>&1; then
  actionlint .github/workflows/ci.yml
else
  skip actionlint "the workflow was not checked for meaning"
fi

if command -v hadolint >/dev/null 2>&1; then
  hadolint ci/Containerfile
else
  skip hadolint "the container file was not checked"
fi

if command -v shellcheck >/dev/null 2>&1; then
  shellcheck ci/*.sh ci/interop/*.sh ci/action/run.sh .ci/run
else
  skip shellcheck "the scripts were checked for syntax only"
fi
echo "the files that others read are valid"
