# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "two clients fill one disk's queues, and one is killed: it can come again at once, and the other does not notice"

disk data 33M
client steady 256M
client doomed 256M
gives steady data size=32768
gives doomed data start=32768 size=34816
backend_start

start steady steady seconds=20 depth=128
start doomed doomed depth=128
client_mark steady "under load" 60
client_mark doomed "under load" 60
sleep 2
client_kill doomed
start doomed doomed-again
client_wait doomed 60
client_wait steady 90
backend_stop

sums_agree doomed vda data 32768 34816
sums_agree steady vda data 0 32768
