# shellcheck shell=dash
# After the crash: what was flushed is there, and the disk is as good as before.
seq 1 100000 | head -c 512k >/tmp/want
dd if=/dev/vda bs=64k count=8 2>/dev/null | cmp - /tmp/want || fail "what was flushed before the crash is not there"
fio --name=again --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=32 --rw=randwrite --bs=4k --offset=4m \
    --size=8m --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 >/tmp/out 2>&1 || {
    cat /tmp/out
    fail "fio found a difference or an error"
}
sum vda
