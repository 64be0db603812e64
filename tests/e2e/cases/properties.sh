# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "the disk says what it is (size, blocks, queues, name, discard), and its write cache can be turned off and on"

disk data 20M
client linux 128M
gives linux data queues=4
backend_start

# qemu-storage-daemon begins with the write cache off.
if [[ $BACKEND == qsd ]]; then cache=off; else cache=on; fi
start linux properties smp=4 sectors=40960 queues=4 cache=$cache
client_wait linux 60
backend_stop

sums_agree linux vda data
