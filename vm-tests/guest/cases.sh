# The cases. Each is a function that ends with `detail`, or at the first thing that does not hold with `die`. Read by packages.sh.
# shellcheck shell=sh disable=SC2154

case_repository() {
    # What a person does once, and files that are there before anything of ours is.
    mkdir -p /usr/share/keyrings /root/.claude /root/.ssh /root/project
    cp "$test/repo/defenseclaw-archive-keyring.gpg" /usr/share/keyrings/
    cp "$test/repo/defenseclaw.sources" /etc/apt/sources.list.d/
    printf '{\n  "model" :  "opus",\n  "hooks": { "PreToolUse":[ {"matcher": "Bash", "hooks": [ {"type":"command","command":"true"} ]} ] }\n}\n\n' >"$SETTINGS"
    cp "$SETTINGS" "$state/settings.before"
    echo key >/root/.ssh/id_ed25519
    echo "hello from the project" >/root/project/README
    apt_get update
    versions >"$state/versions"
    cat "$state/versions"
    [ "$(lines "$state/versions")" -ge 3 ] || die "the repository has not three versions"
    all_files >"$state/files.before"
    detail "versions $(tr '\n' ' ' <"$state/versions")"
}

# Every path that packages could leave behind. The package manager's own, logs, and what the system keeps of itself are left out.
all_files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /srv -o -path /var/cache \
        -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/log -o -path /var/tmp \) -prune -o -print | sort
}

case_install() {
    start=$(now)
    apt_get install "defenseclaw=$(nth_version 1)" defenseclaw-archive-keyring
    took=$(($(now) - start))
    await_services
    for unit in $UNITS; do
        systemctl is-enabled "$unit" || die "$unit is not enabled"
    done
    dpkg --verify defenseclaw
    judge_start
    measure "start after the installation" "$ready"
    detail "apt-get took $took ms; $ready"
}

case_at_rest() {
    # The first scans of a start are over when nothing of them has run for a while.
    sleep 10
    all=
    for unit in $SERVICES; do
        bytes=$(systemctl show -P MemoryCurrent "$unit")
        pid=$(systemctl show -P MainPID "$unit")
        rss=$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$pid/status")
        one="$((bytes / 1048576)) MiB counted, $((rss / 1024)) MiB resident"
        measure "memory ${unit%.service}" "$one"
        all="$all${all:+; }${unit%.service} $one"
        [ "$bytes" -gt 0 ] || die "$unit has no memory accounted"
    done
    detail "$all"
}

case_status() {
    agent_connected || die "no agent is connected"
    jq -r '.agent.families[] | "\(.family) \(.tier): \(.detail)"' "$state/status.json"
    jq -r '.gate | "gate \(.tier): \(.detail)"' "$state/status.json"
    jq -e '.agent.families | length > 0' "$state/status.json" >/dev/null || die "no action family is watched"
    jq -e '[.agent.families[].tier] | all(. != "none")' "$state/status.json" >/dev/null ||
        die "nothing holds for $(jq -r '[.agent.families[] | select(.tier == "none") | .family] | join(", ")' "$state/status.json")"
    jq -e '.gate.tier == "fanotify"' "$state/status.json" >/dev/null || die "the install gate holds nothing"
    jq -e '.ledger.error == null' "$state/status.json" >/dev/null || die "the ledger has an error"
    detail "$(jq -r '[.agent.families[] | "\(.family) \(.tier)"] + ["gate \(.gate.tier)"] | join(", ")' "$state/status.json")"
}

# Nothing is red: what this kernel lacks may be a note or a warning, and no more.
examine() {
    defenseclaw-cli doctor --json >"$state/doctor.jsonl" || true
    jq -r 'select(.state != "ok") | "\(.state): \(.check) \(.about): \(.detail)"' "$state/doctor.jsonl"
    jq -e -s 'length > 20' "$state/doctor.jsonl" >/dev/null || die "doctor looked at next to nothing"
    red=$(jq -r 'select(.state == "problem") | "\(.check) \(.about): \(.detail)"' "$state/doctor.jsonl" | head -n 1)
    [ -z "$red" ] || die "doctor: $red"
    said=$(jq -r -s 'group_by(.state) | map("\(length) \(.[0].state)") | join(", ")' "$state/doctor.jsonl")
}

case_doctor() {
    examine
    detail "$said; not ok: $(jq -r 'select(.state != "ok") | .check' "$state/doctor.jsonl" | sort | uniq -c | awk '{print $2 "(" $1 ")"}' | paste -sd' ' -)"
}

case_run() {
    systemd-run --quiet --wait --pipe --collect --working-directory=/root/project --setenv=HOME=/root \
        defenseclaw-cli run -- cat README >"$state/run.out"
    grep -q "hello from the project" "$state/run.out" || die "the command did not run"
    until_true 60 run_recorded || die "no sandbox with the kernel's view of its command is in the ledger"
    session=$(jq -r '.session' "$state/sandbox.json")
    defenseclaw-cli audit tail -n 200 >"$state/tail"
    grep -q " sandbox " "$state/tail" || die "audit tail shows no sandbox"
    defenseclaw-cli session show last >"$state/session"
    grep -q "cat README\|/cat" "$state/session" || {
        cat "$state/session"
        die "the session does not show its command"
    }
    detail "session $session: $(jq -r -s "[.[] | select(.session == \"$session\") | .body.kind] | group_by(.) | map(\"\(length) \(.[0])\") | join(\", \")" "$state/ledger.jsonl")"
}

run_recorded() {
    records >"$state/ledger.jsonl"
    jq -c 'select(.body.kind == "sandbox")' "$state/ledger.jsonl" | tail -n 1 >"$state/sandbox.json"
    [ -s "$state/sandbox.json" ] || return 1
    jq -e -s --arg session "$(jq -r '.session' "$state/sandbox.json")" \
        'any(.[]; .session == $session and .body.kind == "activity")' "$state/ledger.jsonl" >/dev/null
}

case_setup() {
    defenseclaw-cli setup claude-code --mode action
    grep -q defenseclaw-hook "$SETTINGS" || die "no hook is in $SETTINGS"
    cp "$SETTINGS" "$state/settings.hooked"
    cat /etc/defenseclaw/hook.conf
    grep -q '^fail *= *closed' /etc/defenseclaw/hook.conf || die "the hook client does not fail closed in mode action"
    systemctl restart defenseclaw-gateway
    await_services
    examine
    jq -e -s 'any(.[]; .check == "canary" and .state == "ok")' "$state/doctor.jsonl" >/dev/null || die "doctor proved no hook"
    detail "hook proven by doctor: $said"
}

case_hooks() {
    start_calls hooks
    until_true 60 more_calls hooks 10 || die "calls are not answered"
    stop_calls hooks
    judge_calls hooks
    [ "$(lines "$state/calls-hooks/unanswered")" = 0 ] || die "calls were not answered: $(head -n 1 "$state/calls-hooks/unanswered")"
    detail "$said"
}

case_kill_gateway() {
    kills gateway
}

case_kill_agent() {
    kills agent
}

kills() {
    unit="defenseclaw-$1.service"
    start_calls "kill-$1"
    : >"$state/back-$1"
    round=0
    while [ $round -lt "$KILLS" ]; do
        round=$((round + 1))
        before=$(lines "$state/calls-kill-$1/acknowledged")
        pid=$(systemctl show -P MainPID "$unit")
        from=$(now)
        kill -9 "$pid"
        until_true $((BACK_WITHIN + 60)) is_back "$unit" "$pid" || {
            systemctl status --no-pager --lines=20 "$unit" || true
            die "$unit was not back after kill $round of $KILLS"
        }
        to=$(($(systemctl show -P ActiveEnterTimestampMonotonic "$unit") / 1000))
        echo $((to - from)) >>"$state/back-$1"
        until_true 60 more_calls "kill-$1" $((before + 4)) || die "no call is answered after kill $round of $unit"
    done
    stop_calls "kill-$1"
    until_true 60 agent_connected || die "no agent is connected after the kills"
    sort -n "$state/back-$1" >"$state/back"
    longest=$(tail -n 1 "$state/back")
    times="back in $(sed -n "$(((KILLS + 1) / 2))p" "$state/back") ms (median), $longest ms (longest) of $KILLS kills"
    measure "kill -9 of $1" "$times"
    judge_calls "kill-$1"
    [ "$longest" -le $((BACK_WITHIN * 1000)) ] || die "$times: bound $BACK_WITHIN s; $said"
    detail "$times; $said"
}

is_back() {
    pid=$(systemctl show -P MainPID "$1")
    [ "$pid" != 0 ] && [ "$pid" != "$2" ] && systemctl is-active --quiet "$1"
}

case_evidence() {
    verify
    head="$(jq -r '.head.seq' "$state/verify.json"):$(jq -r '.head.hash' "$state/verify.json")"
    defenseclaw-cli audit verify --head "$head" >/dev/null || die "the chain does not hold to its own head"
    jq -r '.head.seq' "$state/verify.json" >"$state/head"
    detail "$(jq -r '.records' "$state/verify.json") records, chain valid"
}

case_upgrade() {
    old=$(systemctl show -P MainPID defenseclaw-gateway.service)
    start_calls upgrade
    apt_get install "defenseclaw=$(nth_version 2)"
    await_services
    answered=$(lines "$state/calls-upgrade/acknowledged")
    until_true 60 more_calls upgrade $((answered + 4)) || die "no call is answered after the upgrade"
    stop_calls upgrade
    [ "$(version)" = "$(nth_version 2)" ] || die "version $(version) is installed"
    [ "$(systemctl show -P MainPID defenseclaw-gateway.service)" != "$old" ] || die "the old gateway still runs"
    cmp "$SETTINGS" "$state/settings.hooked" || die "the harness's settings were changed"
    judge_calls upgrade
    detail "to $(version): $said"
}

case_disabled() {
    systemctl disable --now $UNITS
    apt_get install "defenseclaw=$(nth_version 3)"
    [ "$(version)" = "$(nth_version 3)" ] || die "version $(version) is installed"
    for unit in $UNITS; do
        ! systemctl is-enabled --quiet "$unit" || die "$unit is enabled again"
        ! systemctl is-active --quiet "$unit" || die "$unit runs again"
    done
    systemctl enable --now $UNITS
    await_services
    verify
    detail "to $(version): disabled and stopped, both; enabled again by hand: active"
}

case_downgrade() {
    # A ledger that a newer version has written, by the number in its header (bytes 60 to 63).
    systemctl stop $UNITS
    cp -a "$LEDGER" "$state/ledger.kept"
    printf '\000\000\000\143' | dd of="$LEDGER" bs=1 seek=60 conv=notrunc 2>/dev/null
    status=0
    apt_get install --allow-downgrades "defenseclaw=$(nth_version 2)" >"$state/downgrade" 2>&1 || status=$?
    cat "$state/downgrade"
    systemctl stop $UNITS
    dd if="$state/ledger.kept" of="$LEDGER" bs=1 skip=60 seek=60 count=4 conv=notrunc 2>/dev/null
    rm "$state/ledger.kept"
    systemctl reset-failed $SERVICES || true
    systemctl start $UNITS
    await_services
    [ $status != 0 ] || die "the downgrade was not refused"
    grep -q "was written by a newer version" "$state/downgrade" || die "the downgrade was refused without its reason"
    [ "$(version)" = "$(nth_version 3)" ] || die "version $(version) is installed"
    [ "$(dpkg-query -W -f '${db:Status-Status}' defenseclaw)" = installed ] || die "the package is no longer whole"
    verify
    detail "$(grep -m 1 "was written by a newer version" "$state/downgrade")"
}

nothing_runs() {
    for process in /proc/[0-9]*; do
        case "$(readlink "$process/exe" 2>/dev/null)" in
        /usr/lib/defenseclaw/* | /usr/bin/defenseclaw*) return 1 ;;
        esac
    done
}

case_remove() {
    apt_get remove defenseclaw
    cmp "$SETTINGS" "$state/settings.before" || {
        cat "$SETTINGS"
        die "the harness's settings are not what they were before"
    }
    until_true 20 nothing_runs || die "a program of ours still runs"
    [ ! -e /sys/fs/bpf/defenseclaw ] || die "kernel programs are still there: $(ls /sys/fs/bpf/defenseclaw)"
    [ ! -e /run/defenseclaw/gateway.sock ] || die "the socket is still there"
    [ ! -e /usr/bin/defenseclaw-hook ] || die "programs are still there"
    [ -s "$LEDGER" ] || die "the ledger is gone; only purge may take it"
    [ -e /etc/defenseclaw/config.yaml ] || die "the configuration is gone; only purge may take it"
    detail "settings as before, byte for byte; ledger and configuration stay"
}

case_reinstall() {
    apt_get install defenseclaw
    [ "$(version)" = "$(nth_version 3)" ] || die "version $(version) is installed"
    await_services
    verify
    [ "$(jq -r '.head.seq' "$state/verify.json")" -gt "$(cat "$state/head")" ] || die "the ledger began anew"
    judge_start
    detail "the ledger goes on at $(jq -r '.head.seq' "$state/verify.json"); $ready"
}

case_purge() {
    apt_get purge defenseclaw defenseclaw-archive-keyring
    # The list has the key that a person fetched; the package took it over, and takes it away.
    all_files >"$state/files.after"
    # Backups of the user database are its tools'.
    comm -13 "$state/files.before" "$state/files.after" |
        grep -v -x -E '/etc/(passwd|group|shadow|gshadow|subuid|subgid)-' >"$state/left" || true
    cat "$state/left"
    [ ! -s "$state/left" ] || die "left behind: $(head -n 3 "$state/left" | paste -sd' ' -)"
    ! grep -q '^defenseclaw:' /etc/passwd || die "the user is still there"
    ! grep -q '^defenseclaw:' /etc/group || die "the group is still there"
    [ ! -e /run/defenseclaw ] || die "/run/defenseclaw is still there"
    [ ! -e /sys/fs/bpf/defenseclaw ] || die "kernel programs are still there"
    nothing_runs || die "a program of ours still runs"
    ! systemctl list-unit-files --no-legend 'defenseclaw*' | grep . || die "the service manager still knows units of ours"
    ! ls -d /var/cache/debconf/*defenseclaw* 2>/dev/null || die "debconf still has files of ours"
    detail "no file, user, unit, process or kernel program is left"
}

# What a new user types, from a system that knows nothing of the packages to the first session in which the kernel's view stands beside
# what was asked for; and how long each step takes.
case_first_steps() {
    rm -f /usr/share/keyrings/defenseclaw-archive-keyring.gpg /etc/apt/sources.list.d/defenseclaw.sources
    begun=$(now)
    typed cp "$test/repo/defenseclaw-archive-keyring.gpg" /usr/share/keyrings/
    typed cp "$test/repo/defenseclaw.sources" /etc/apt/sources.list.d/
    typed apt-get update
    typed apt-get install -y defenseclaw
    timed "until both services are in force" await_services
    typed defenseclaw-cli status
    typed defenseclaw-cli setup --detect
    grep -q claude-code "$state/typed" || die "setup --detect does not offer the harness that is here"
    typed defenseclaw-cli setup claude-code
    timed "defenseclaw-cli doctor" examine
    timed "defenseclaw-cli run -- cat README" systemd-run --quiet --wait --pipe --collect --working-directory=/root/project \
        --setenv=HOME=/root defenseclaw-cli run -- cat README
    grep -q "hello from the project" "$state/typed" || die "the command did not run"
    if [ "$PLACE" = here ]; then
        # There the kernel's view is of other process ids.
        trail="the command's own record"
    else
        timed "until the kernel's view of it is recorded" until_true 60 run_recorded
        trail="the first joined trail"
    fi
    typed defenseclaw-cli session show last
    [ "$PLACE" = here ] || grep -q "cat README\|/cat" "$state/typed" || die "the session does not show its command"
    took=$(($(now) - begun))
    measure "new user: all of it" "$took ms"
    apt_get purge defenseclaw
    detail "from nothing to $trail in $took ms"
}

case_install_again() {
    apt_get install defenseclaw defenseclaw-archive-keyring
    await_services
    verify
    # What a record survives is the host's choice; the last case cuts the power.
    mkdir -p /etc/defenseclaw/config.d
    printf 'mode: action\ndurability: power\n' >/etc/defenseclaw/config.d/50-test.yaml
    defenseclaw-cli setup claude-code
    systemctl restart defenseclaw-gateway
    await_services
    judge_start
    detail "$ready"
}

case_boot() {
    await_services
    agent_connected
    jq -e '.ledger.durability == "power"' "$state/status.json" >/dev/null || die "the configuration was not kept"
    verify
    examine
    until_true "$READY_WITHIN" systemd-analyze >/dev/null || die "the boot does not end"
    systemd-analyze blame --no-pager | grep defenseclaw >"$state/blame" || die "systemd-analyze knows of no unit of ours"
    measure "boot" "$(systemd-analyze | head -n 1)"
    while read -r line; do
        measure "boot, blame" "$line"
    done <"$state/blame"
    detail "active without help; $(grep -E 'gateway.service|agent.service' "$state/blame" | awk '{print $2, $1}' | paste -sd, -)"
}

case_power_cut() {
    [ -e "$state/cut" ] || die "the power was not cut"
    # What was acknowledged was written past every cache, beside this disk: one id each 512 bytes.
    calls="$state/calls-power"
    mkdir -p "$calls"
    tr -d '\000 ' <"$ACKNOWLEDGED" | grep . >"$calls/acknowledged"
    grep -e -deny- "$calls/acknowledged" >"$calls/denied"
    await_services
    judge_calls power
    detail "$said"
}
