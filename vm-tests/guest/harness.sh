#!/bin/sh
# A coding agent that calls its hook: harness.sh NAME. It goes on until the file `stop` is in its folder.
#
# In turn it announces a call that the policy lets pass and one that it refuses. What it was told is written down: a call that was
# answered by the gateway was recorded before, so its id must be in the ledger, whatever happens afterwards.
set -u

name="$1"
folder="/srv/state/calls-$name"
mkdir -p "$folder"

# The hook's answer to an event; its exit status is that of the hook.
event() {
    printf '{"session_id":"%s","transcript_path":"","cwd":"/root/project","hook_event_name":"%s"%s}' "$name" "$1" "$2" |
        /usr/bin/defenseclaw-hook claude-code
}

call() {
    event PreToolUse ",\"permission_mode\":\"default\",\"tool_name\":\"Bash\",\"tool_use_id\":\"$1\",\"tool_input\":{\"command\":\"$2\",\"description\":\"a call\"}"
}

# The gateway's answer has come. Where the power will be cut this goes past every cache to a disk of its own: a sync of the disk
# with the ledger would write the ledger, too, and hide that its own was missing.
acknowledge() {
    echo "$1" >>"$folder/acknowledged"
    if [ -e "$folder/raw" ]; then
        printf '%-511s\n' "$1" | dd of=/dev/vdc bs=512 seek=$acknowledged oflag=dsync conv=notrunc 2>/dev/null
        acknowledged=$((acknowledged + 1))
    fi
}

event SessionStart ',"source":"startup"' >/dev/null 2>&1
number=0
acknowledged=0
while [ ! -e "$folder/stop" ]; do
    number=$((number + 1))
    answer=$(call "$name-pass-$number" "ls -l" 2>&1)
    case "$answer" in
    *"could not check this call"* | *defenseclaw-hook:*) echo "$number $answer" >>"$folder/unanswered" ;;
    *) acknowledge "$name-pass-$number" ;;
    esac
    answer=$(call "$name-deny-$number" "cat /root/.ssh/id_ed25519" 2>&1)
    status=$?
    case "$status $answer" in
    *"could not check this call"*) echo "$number $answer" >>"$folder/unanswered" ;;
    0*'"permissionDecision":"deny"'*)
        echo "$number" >>"$folder/denied"
        acknowledge "$name-deny-$number"
        ;;
    # The harness would have run this one.
    *) echo "$number status $status: $answer" >>"$folder/let-through" ;;
    esac
done
event SessionEnd ',"reason":"other"' >/dev/null 2>&1
