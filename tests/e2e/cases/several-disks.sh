# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "a client with several disks, one of them a qcow2 image, finds each where it belongs, and writes to all of them at once stay apart"

disk one 8M
disk two 12M qcow2
disk three 16M
client linux 128M
gives linux one
gives linux two queues=2
gives linux three start=2048 size=16384
backend_start

start linux several-disks
client_wait linux 120
backend_stop

sums_agree linux vda one
sums_agree linux vdb two
sums_agree linux vdc three 2048 16384
