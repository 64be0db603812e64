# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "the appliance is killed again and again while two clients write to qcow2 images: no error, no difference"

disk one 16M qcow2
disk two 16M qcow2
client first 256M
client second 256M
gives first one
gives second two queues=2
backend_start

start first steady seconds=15
start second steady seconds=15
client_mark first "under load" 60
client_mark second "under load" 60
kill_often 6
client_wait first 120
client_wait second 120
backend_stop

sums_agree first vda one
sums_agree second vda two
