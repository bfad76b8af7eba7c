#!/bin/sh
# Runs the load of generators.yaml in the cluster and namespace that kubectl speaks to, merges the shares, and ends with
# the exit code of the whole. What is left behind stays in the volume peerproof-results, in the folder that is told.
# Usage: ci/kubernetes/run.sh
set -eu
cd "$(dirname "$0")"

run=${RUN:-$(date -u +%Y%m%dT%H%M%SZ)}

# Until a Job has ended, well or not.
await() {
  until kubectl get job "$1" --output 'jsonpath={.status.conditions[*].type}' | grep -qwE 'Complete|Failed'; do
    sleep 2
  done
}

kubectl delete job peerproof-generators peerproof-merge --ignore-not-found
sed "s/^  RUN: .*/  RUN: \"$run\"/" generators.yaml | kubectl apply --filename -
await peerproof-generators
kubectl logs --selector job-name=peerproof-generators --prefix --tail -1

kubectl apply --filename merge.yaml
await peerproof-merge
kubectl logs job/peerproof-merge
echo "in the volume peerproof-results: $run/merged"
code=$(kubectl get pods --selector job-name=peerproof-merge \
  --output 'jsonpath={.items[0].status.containerStatuses[0].state.terminated.exitCode}')
exit "${code:-70}"
