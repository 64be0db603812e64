# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "a client's QEMU is killed under load and started again: what it had flushed is there, and the other client does not notice"

disk mine 16M
disk theirs 16M
client steady 256M
client doomed 256M
gives steady mine
gives doomed theirs
backend_start

start steady steady seconds=30
start doomed doomed
client_mark steady "under load" 60
client_mark doomed "under load" 60
sleep 2
client_kill doomed

start doomed doomed-again
client_wait doomed 60
client_wait steady 120
backend_stop

sums_agree doomed vda theirs
sums_agree steady vda mine
