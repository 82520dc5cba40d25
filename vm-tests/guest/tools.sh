# What the cases need: constants, waiting, the ledger's records, an agent that calls its hook. Read by packages.sh.
# shellcheck shell=sh disable=SC2034,SC2154

SERVICES="defenseclaw-gateway.service defenseclaw-agent.service"
# In the order in which they are stopped: a call on a socket that is still there starts the gateway again, and that calls off
# what was to be stopped.
UNITS="defenseclaw-agent.service defenseclaw-gateway-agent.socket defenseclaw-gateway.socket defenseclaw-gateway.service"
LEDGER=/var/lib/defenseclaw/ledger.db
# A disk of its own for what a cut of the power must not take.
ACKNOWLEDGED=/dev/vdc
SETTINGS=/root/.claude/settings.json

say() {
    echo "DEFENSECLAW-$*"
}

measure() {
    say "MEASURE: $1|$2" >>"$state/measures"
}

# What a case has to tell when it is done.
detail() {
    echo "$*" >"$state/detail"
}

die() {
    detail "$*"
    echo "FAILED: $*"
    exit 1
}

# Milliseconds since the boot.
now() {
    read -r up _ </proc/uptime
    echo "${up%.*}${up#*.}0"
}

# until_true SECONDS COMMAND…: whether it comes true in time.
until_true() {
    end=$(($(now) + $1 * 1000))
    shift
    until "$@"; do
        [ "$(now)" -lt "$end" ] || return 1
        sleep 0.2
    done
}

active() {
    for unit in $SERVICES; do
        systemctl is-active --quiet "$unit" || return 1
    done
}

await_services() {
    until_true "$READY_WITHIN" active || {
        systemctl status --no-pager --lines=20 $SERVICES || true
        die "not both services are active within $READY_WITHIN s"
    }
    # The agent is in force once the gateway says so.
    until_true "$READY_WITHIN" agent_connected || die "the gateway knows of no agent after $READY_WITHIN s"
}

# How long each service took from its start until it said that it is ready.
judge_start() {
    ready=
    for unit in $SERVICES; do
        from=$(systemctl show -P InactiveExitTimestampMonotonic "$unit")
        to=$(systemctl show -P ActiveEnterTimestampMonotonic "$unit")
        took=$(((to - from) / 1000))
        ready="$ready${ready:+, }${unit%.service} ready in $took ms"
        [ $took -le $((READY_WITHIN * 1000)) ] || die "$unit took $took ms to be ready, more than $READY_WITHIN s"
    done
}

agent_connected() {
    defenseclaw-cli status --json >"$state/status.json" && jq -e '.agent != null' "$state/status.json" >/dev/null
}

# timed WHAT COMMAND…: how long a command takes that a person waits for. What it prints is kept in the file `typed`.
timed() {
    what="$1"
    shift
    from=$(now)
    status=0
    "$@" >"$state/typed" 2>&1 </dev/null || status=$?
    cat "$state/typed"
    measure "new user: $what" "$(($(now) - from)) ms"
    [ $status = 0 ] || die "$what: exit status $status"
}

# The same of a command as it is typed.
typed() {
    timed "$*" "$@"
}

version() {
    dpkg-query -W -f '${Version}' defenseclaw
}

# The repository's versions, oldest first.
versions() {
    apt-cache madison defenseclaw | sed 's/^[^|]*| *\([^ ]*\).*/\1/' | tac
}

nth_version() {
    versions | sed -n "$1p"
}

apt_get() {
    apt-get -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=0 "$@"
}

records() {
    defenseclaw-cli audit query --json "$@"
}

verify() {
    defenseclaw-cli audit verify --json >"$state/verify.json" || {
        cat "$state/verify.json"
        die "the ledger does not verify"
    }
    jq -e '.valid' "$state/verify.json" >/dev/null || die "the ledger does not verify"
}

# How many lines a file has that may not be there.
lines() {
    if [ -e "$1" ]; then wc -l <"$1"; else echo 0; fi
}

# A coding agent that calls its hook all the time, as nobody's descendant.
start_calls() {
    [ -x /usr/bin/defenseclaw-hook ] || die "the hook client is not installed"
    rm -rf "$state/calls-$1"
    mkdir -p "$state/calls-$1" /root/project
    [ -z "${2:-}" ] || touch "$state/calls-$1/$2"
    systemd-run --quiet --collect --unit="calls-$1" /bin/sh "$test/harness.sh" "$1"
    until_true 120 more_calls "$1" 4 || die "no call is answered: $(tail -n 1 "$state/calls-$1/unanswered" 2>/dev/null)"
}

more_calls() {
    [ "$(lines "$state/calls-$1/acknowledged")" -ge "$2" ]
}

stop_calls() {
    touch "$state/calls-$1/stop"
    until_true 60 calls_ended "$1" || die "the calls do not end"
}

calls_ended() {
    ! systemctl is-active --quiet "calls-$1"
}

# Nothing that must be refused was let through, and everything that the gateway answered is in the ledger.
judge_calls() {
    calls="$state/calls-$1"
    [ ! -s "$calls/let-through" ] || die "calls that must be denied were let through: $(head -n 1 "$calls/let-through")"
    [ "$(lines "$calls/denied")" -gt 0 ] || die "not one denial by the gateway was seen"
    records --kind tool_call | jq -r '.call' | sort -u >"$state/recorded"
    sort -u "$calls/acknowledged" >"$state/acknowledged"
    comm -23 "$state/acknowledged" "$state/recorded" >"$state/lost"
    [ ! -s "$state/lost" ] || die "$(lines "$state/lost") acknowledged calls are not in the ledger, first $(head -n 1 "$state/lost")"
    verify
    said="$(lines "$calls/acknowledged") calls acknowledged and recorded, $(lines "$calls/denied") denied by policy, $(lines "$calls/unanswered") refused by the fail mode"
}
