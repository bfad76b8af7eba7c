# Whole contents of 1 MiB, from the same four.
# shellcheck shell=sh disable=SC2034 # of ci/peers/lib.sh
least=1048576
edges 1048576
