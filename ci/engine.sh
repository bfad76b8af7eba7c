# shellcheck shell=sh
# A container engine for the script that takes this in: the one that answers, at DOCKER_HOST if that is set. Where there
# is none, root on Debian gets one: docker.io is installed, started with a data folder of its own and without any network
# of its own, stopped, and taken away again, packages included (KEEP=1 leaves those). However the script ends, what is
# left of it is removed first, by `remove_rest` if it has one. To be taken in by sh, at the root of the repository:
#   . ci/engine.sh

say() { printf '\n== %s\n' "$*"; }

packages() { dpkg-query --show --showformat '${Package}\n' | sort; }

# What the script left in the engine and elsewhere.
remove_rest() { :; }

# What is told to stop does not wait for a build to end.
child=
patiently() {
    "$@" &
    child=$!
    ended=0
    wait "$child" || ended=$?
    child=
    return "$ended"
}

root=
engine=
policy=
before=

clean_up() {
    status=$?
    trap - EXIT
    trap '' INT TERM
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    remove_rest
    if [ -n "$engine" ]; then
        say "stopping the engine"
        kill "$engine" 2>/dev/null || true
        wait "$engine" 2>/dev/null || true
        # What it left mounted under its own folder.
        awk -v root="$root/" 'index($2, root) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount || true
    fi
    if [ -n "$before" ] && [ -z "${KEEP:-}" ]; then
        say "removing what was installed"
        packages > "$root/after"
        comm -13 "$before" "$root/after" |
            DEBIAN_FRONTEND=noninteractive xargs -r apt-get purge --yes > "$root/purged" 2>&1 ||
            { tail -5 "$root/purged"; echo "NOT DONE: the packages stay"; }
    fi
    if [ -n "$policy" ]; then rm -f /usr/sbin/policy-rc.d; fi
    if [ -n "$root" ]; then
        for folder in /etc/docker /run/docker; do
            if ! grep -qx "$folder" "$root/folders"; then rm -rf "$folder"; fi
        done
        rm -rf "$root"
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "${DOCKER_HOST:-}" ]; then
    say "the engine at $DOCKER_HOST"
elif docker version > /dev/null 2>&1; then
    say "the engine that runs"
elif [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    say "NOT DONE: no container engine answers, and only root on Debian is given one"
    exit 1
else
    root=$(mktemp -d)
    ls -d /etc/docker /run/docker > "$root/folders" 2>/dev/null || true
    if ! command -v dockerd > /dev/null; then
        say "installing an engine"
        # Installed, not started: it is started below, on its own.
        if [ ! -e /usr/sbin/policy-rc.d ]; then
            policy=yes
            printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
            chmod +x /usr/sbin/policy-rc.d
        fi
        before=$root/before
        packages > "$before"
        { apt-get update && apt-get install --yes --no-install-recommends docker.io; } > "$root/installed" 2>&1 ||
            { tail -5 "$root/installed"; exit 1; }
    fi
    say "starting an engine"
    export DOCKER_HOST="unix://$root/docker.sock"
    # In a session of its own: Ctrl-C is for the script, which still needs it.
    setsid dockerd --host "$DOCKER_HOST" --data-root "$root/data" --exec-root "$root/exec" --pidfile "$root/pid" \
        --bridge none --iptables=false --ip-forward=false --ip-masq=false > "$root/log" 2>&1 &
    engine=$!
    tries=0
    until docker version > /dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 60 ] || ! kill -0 "$engine" 2>/dev/null; then
            say "NOT DONE: the engine does not start"
            tail -20 "$root/log"
            exit 1
        fi
        sleep 0.5
    done
fi
