# A list of ten peers of a swarm of 200, found and written anew each time, beside a static file of as many octets.
# shellcheck shell=sh disable=SC2154,SC2034 # of ci/peers.sh, and for ci/peers/lib.sh
needs wrk=wrk nginx=nginx-light curl=curl || return 0
lists || return 0
list() { "ask_$1" "$1"; }
alternate list nginx serve
ratio serve nginx
