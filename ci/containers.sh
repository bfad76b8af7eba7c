#!/bin/sh
# Our own nodes as guests in containers: the tests of suites/selftest/containers.rs, with an engine for certain, as
# ci/engine.sh gets it (KEEP=1 leaves its packages). Usage: ci/containers.sh
set -eu
cd "$(dirname "$0")/.."
. ci/engine.sh

say "guests in containers"
CONTAINERS=required cargo test --all-features --test containers -- --nocapture

say "all good"
