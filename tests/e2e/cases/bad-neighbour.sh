# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "a neighbour starts endless channel programs, and spoils its area before a restart: a client under load does not notice"

disk data 16M
client steady 256M
gives steady data
terminal bare
backend_start

start steady steady seconds=12
client_mark steady "under load" 60
appliance endless bare
appliance spoil bare
appliance restart
sleep 1
appliance endless bare
client_wait steady 90
expect "$("$HOST_PROGRAM" status "$CONFIG" --json | jq .appliance.restarts)" 1 "the number of restarts"
backend_stop

sums_agree steady vda data
