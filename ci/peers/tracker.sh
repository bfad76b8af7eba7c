# A list of ten peers of a swarm of 200, found and written anew each time, beside a static file of as many octets.
# shellcheck shell=sh disable=SC2154,SC2034 # of ci/peers.sh, and for ci/peers/lib.sh
needs wrk=wrk nginx=nginx-light curl=curl || return 0
mkdir -p "$out/nginx/html"
head -c 3300 /dev/zero | tr '\0' x >"$out/nginx/html/list"
nginx || return 0
serve tracker --peers 20000 --swarms 100
least=3300
list() {
    case $1 in
        nginx) wrk_asks nginx nginx -c32 http://127.0.0.1:18099/list ;;
        serve) wrk_asks serve serve -c32 -s "$here/find.lua" "http://$address/" ;;
    esac
}
alternate list nginx serve
ratio serve nginx
