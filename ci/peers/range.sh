# 64 KiB ranges of eight contents of 16 MiB, drawn at random: a server of files, two caches that are warm, serve.
# shellcheck shell=sh disable=SC2034 # of ci/peers/lib.sh
least=65536
edges 16777216
