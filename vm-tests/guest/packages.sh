#!/bin/sh
# What is tried of the packages in a guest with systemd. Without an argument: all cases, over two restarts; with one: that case.
#
# Each case is a process of its own with a time limit, and says how it went whatever the others did. The host reads the lines that
# begin with DEFENSECLAW-. What is kept from boot to boot lies in /srv/state.
#
# The repository of the second disk has three versions of the packages: the first is installed, the others come as upgrades.
set -eu

test=/srv/test
state=/srv/state
# Of the host: READY_WITHIN, BACK_WITHIN (seconds), KILLS, CASE_LIMIT (seconds), PLACE (guest, or here: see here.sh).
. "$test/settings"

FIRST="repository install at-rest status doctor run setup hooks kill-gateway kill-agent evidence upgrade disabled downgrade remove reinstall purge first-steps install-again"
SECOND="boot"
THIRD="power-cut"
# In namespaces there is no accounting, the kernel programs see other process ids than the agent, and nothing restarts.
HERE="repository install doctor setup hooks kill-gateway kill-agent evidence upgrade disabled downgrade remove reinstall purge first-steps install-again"
. "$test/tools.sh"
. "$test/cases.sh"

run_cases() {
    for name in $1; do
        from=$(now)
        rm -f "$state/detail"
        outcome=pass
        # Of one that ends without a word, the last line that was printed.
        timeout -k 10 "$CASE_LIMIT" /bin/sh "$test/packages.sh" "$name" >"$state/log-$name" 2>&1 || outcome=fail
        if [ $outcome = fail ]; then
            tail -n 40 "$state/log-$name" | sed "s/^/$name: /"
            echo "$name" >>"$state/failed"
        fi
        say "CASE: $name|$outcome|$(($(now) - from))|$(head -n 1 "$state/detail" 2>/dev/null || tail -n 1 "$state/log-$name")"
    done
}

finish() {
    cat "$state/measures" 2>/dev/null || true
    if [ -e "$state/failed" ]; then
        say "GUEST: failure $(paste -sd' ' "$state/failed")"
    else
        say "GUEST: success"
    fi
    systemctl poweroff
}

if [ $# -gt 0 ]; then
    # Whatever comes of it, no calls of its own disturb the next one.
    trap 'for calls in "$state"/calls-*; do [ ! -d "$calls" ] || touch "$calls/stop"; done' EXIT
    "case_$(echo "$1" | tr - _)"
    exit
fi

if [ "$PLACE" = here ]; then
    say "CASES: $HERE"
    run_cases "$HERE"
    finish
    exit
fi

case "$(cat "$state/boot" 2>/dev/null || echo 0)" in
0)
    say "CASES: $FIRST $SECOND $THIRD"
    echo 1 >"$state/boot"
    run_cases "$FIRST"
    sync
    systemctl reboot
    ;;
1)
    echo 2 >"$state/boot"
    run_cases "$SECOND"
    # The power goes while calls are answered: nothing is written any more that was not written yet.
    touch "$state/cut"
    sync
    (start_calls power raw && until_true 60 more_calls power 12) || rm "$state/cut"
    echo b >/proc/sysrq-trigger
    ;;
*)
    run_cases "$THIRD"
    finish
    ;;
esac
