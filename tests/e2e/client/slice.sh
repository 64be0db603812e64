# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Writes the whole slice, tries to reach past its end, and verifies.
[ "$(cat /sys/block/vda/size)" = "$sectors" ] || fail "the disk has $(cat /sys/block/vda/size) sectors, not $sectors"
fio --name=slice --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=32 --rw=randwrite --bs=16k \
    --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 --randrepeat=0 >/tmp/out 2>&1 || {
    cat /tmp/out
    fail "fio found a difference or an error"
}
dd if=/dev/zero of=/dev/vda bs=512 seek="$sectors" count=8 2>/dev/null && fail "there is room behind the end"
sum vda
