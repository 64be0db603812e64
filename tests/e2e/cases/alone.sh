# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "a configuration without a client comes up, serves, and does so again after the appliance was killed"

# The group of comparison has no appliance.
[[ $BACKEND == stellwerk ]] || return 0

status() { "$HOST_PROGRAM" status --json "$CONFIG" >"$SCENE/status"; }
# serves RESTARTS DISKS: within 30 s.
serves() {
    local deadline=$((SECONDS + 30))
    until status && jq -e ".appliance.life == \"serving\" and .appliance.restarts == $1" "$SCENE/status" >/dev/null; do
        ((SECONDS < deadline)) || { cat "$SCENE/status"; return 1; }
        sleep 0.1
    done
    expect "$(jq '[.devices[] | select(.cu_type == "3832" and .cu_model == "02")] | length' "$SCENE/status")" "$2" "disks"
}

backend_start
serves 0 0
kill -KILL "$(jq .appliance.pid "$SCENE/status")"
serves 1 0
backend_stop

disk data 8M
backend_start
serves 0 1
