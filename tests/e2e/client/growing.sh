# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Writes and verifies while the disk becomes longer, and writes to each new end as soon as there is one.
mark under load
fio --name=growing --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k --size=16m \
    --time_based --runtime=600 --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_backlog=256 \
    --verify_state_save=0 >/tmp/out 2>&1 &
load=$!
old_ifs=$IFS
IFS=,
for sectors in $sizes; do
    n=2400
    until [ "$(cat /sys/block/vda/size)" = "$sectors" ]; do
        n=$((n - 1))
        [ $n -gt 0 ] || fail "the disk has $(cat /sys/block/vda/size) sectors, not $sectors"
        usleep 50000
    done
    last=$((sectors / 8 - 1))
    head -c 4096 /dev/urandom >/tmp/end
    dd if=/tmp/end of=/dev/vda bs=4096 seek=$last conv=fsync 2>/tmp/said || fail "$(cat /tmp/said)"
    echo 3 >/proc/sys/vm/drop_caches
    dd if=/dev/vda of=/tmp/back bs=4096 count=1 skip=$last 2>/tmp/said || fail "$(cat /tmp/said)"
    cmp /tmp/end /tmp/back || fail "the new end is not what was written"
    mark "$sectors sectors"
done
IFS=$old_ifs
kill -0 $load || {
    cat /tmp/out
    fail "fio found a difference or an error"
}
kill -INT $load
wait $load
grep -q "err= 0" /tmp/out || {
    cat /tmp/out
    fail "fio found a difference or an error"
}
dmesg | grep -i "I/O error" && fail "there was an error"
sum vda
