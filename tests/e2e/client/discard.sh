# shellcheck shell=dash
# The disk comes full of random bytes. 0–4 MiB stays; 4–8 is zeroed; 8–16 is discarded; then 16–24 is written and
# verified while 24–32 is discarded at random, block by block.
queue=/sys/block/vda/queue
[ "$(cat $queue/discard_max_bytes)" -gt 0 ] || fail "the disk offers no discard"
[ "$(cat $queue/write_zeroes_max_bytes)" -gt 0 ] || fail "the disk offers no write-zeroes"

# By path: busybox has a lesser command of the same name.
/bin/blkdiscard --zeroout --offset 4194304 --length 4194304 /dev/vda || fail "write-zeroes"
[ "$(dd if=/dev/vda bs=1M skip=4 count=4 2>/dev/null | tr -d '\0' | wc -c)" = 0 ] || fail "zeroes are not zero"
/bin/blkdiscard --offset 8388608 --length 8388608 /dev/vda || fail "discard"
dd if=/dev/vda of=/dev/null bs=1M skip=8 count=8 2>/dev/null || fail "what was discarded cannot be read"

cat >/tmp/job <<'J'
[global]
filename=/dev/vda
ioengine=libaio
direct=1
iodepth=16
size=8m
randrepeat=0
[write]
rw=randwrite
bs=8k
offset=16m
verify=crc32c
do_verify=1
verify_fatal=1
verify_state_save=0
[discard]
rw=randtrim
bs=16k
offset=24m
J
fio /tmp/job >/tmp/out 2>&1 || {
    cat /tmp/out
    fail "fio found a difference or an error"
}
sum vda
