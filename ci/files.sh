#!/bin/sh
# Are the files valid that other programs read: workflows, the action, scripts, the container file? Says aloud what it
# could not check. Usage: ci/files.sh
set -eu
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED: $1 is not installed, so $2"; }

for script in ci/*.sh ci/interop/*.sh ci/peers/*.sh ci/kubernetes/*.sh ci/action/*.sh .ci/run; do
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

# What a cluster is told: is it YAML, are the commands of the pods scripts, does all of it refer to what is there?
if command -v python3 >/dev/null 2>&1 && python3 -c 'import yaml' 2>/dev/null; then
  python3 - <<'EOF'
import re, subprocess, sys, yaml

wrong, told, configured, claims = [], [], {}, set()
for name in ["generators.yaml", "merge.yaml"]:
    told += [(name, part) for part in yaml.safe_load_all(open(f"ci/kubernetes/{name}"))]
for name, part in told:
    if part["kind"] == "ConfigMap":
        configured[part["metadata"]["name"]] = part["data"]
    if part["kind"] == "PersistentVolumeClaim":
        claims.add(part["metadata"]["name"])
jobs = [(name, part) for name, part in told if part["kind"] == "Job"]
if len(jobs) != 2:
    wrong.append(f"expected a job of generators and one that merges, found {len(jobs)}")
for name, job in jobs:
    pod = job["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    for volume in pod["volumes"]:
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        held = volume.get("configMap", {}).get("name")
        if (claim and claim not in claims) or (held and held not in configured):
            wrong.append(f"{name}: the volume {volume['name']} is of {claim or held}, which is not there")
    for container in pod["containers"]:
        script = container["args"][0]
        checked = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True)
        if checked.returncode:
            wrong.append(f"{name}: {container['name']}: {checked.stderr.strip()}")
        known = {variable["name"] for variable in container["env"]} | {"JOB_COMPLETION_INDEX"}
        for source in container["envFrom"]:
            known |= set(configured.get(source["configMapRef"]["name"], {}))
        used = set(re.findall(r"\b[A-Z][A-Z_]{2,}\b", script))
        if used - known:
            wrong.append(f"{name}: {container['name']} is never told {', '.join(sorted(used - known))}")
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        if mounted - volumes:
            wrong.append(f"{name}: {container['name']} mounts {mounted - volumes}, which is no volume")
print("\n".join(wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
EOF
else
  skip "PyYAML" "what a cluster is told was not read"
fi

if command -v python3 >/dev/null 2>&1 && python3 -c 'import kubernetes_validate' 2>/dev/null; then
  python3 -m kubernetes_validate --strict ci/kubernetes/*.yaml
else
  skip "kubernetes-validate" "what a cluster is told was not held to its schema"
fi

if command -v actionlint >/dev/null 2>&1; then
  actionlint .github/workflows/ci.yml
else
  skip actionlint "the workflow was not checked for meaning"
fi

if command -v hadolint >/dev/null 2>&1; then
  hadolint ci/Containerfile ci/kubernetes/Containerfile
else
  skip hadolint "the container file was not checked"
fi

if command -v shellcheck >/dev/null 2>&1; then
  shellcheck ci/*.sh ci/interop/*.sh ci/peers/*.sh ci/kubernetes/*.sh ci/action/*.sh .ci/run
else
  skip shellcheck "the scripts were checked for syntax only"
fi
echo "the files that others read are valid"
