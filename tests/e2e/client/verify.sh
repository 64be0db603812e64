# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Random writes with a checksum in every block, one job for each block size, each in its own part of the disk, all at
# once; then all of it is read again and checked.
set -- /sys/block/vda/mq/*
[ $# = "$queues" ] || fail "there are $# queues, not $queues"
{
    echo '[global]
filename=/dev/vda
ioengine=libaio
direct=1
rw=randwrite
iodepth=64
size=4m
verify=crc32c
do_verify=1
verify_fatal=1
verify_state_save=0
randrepeat=0'
    n=0
    for bs in 512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1m; do
        printf '[bs-%s]\nbs=%s\noffset=%dm\n' $bs $bs $((n * 4))
        n=$((n + 1))
    done
} >/tmp/job
fio --output-format=terse --terse-version=3 /tmp/job >/tmp/out 2>&1 || {
    cat /tmp/out
    fail "fio found a difference or an error"
}
sum vda
