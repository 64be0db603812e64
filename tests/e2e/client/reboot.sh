# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# The first sector counts the boots. Each boot checks what the one before wrote, writes anew, and leaves in mid-load.
boot=$(head -c 4 /dev/vda | tr -dc 0-9)
boot=$((${boot:-0} + 1))
mark boot $boot
if [ $boot -gt 1 ]; then
    seq $((boot - 1)) 50000 | head -c 256k >/tmp/want
    dd if=/dev/vda bs=64k skip=16 count=4 2>/dev/null | cmp - /tmp/want || fail "what boot $((boot - 1)) wrote is not there"
fi
seq $boot 50000 | head -c 256k | dd of=/dev/vda bs=64k seek=16 conv=fsync 2>/dev/null || fail "writing"
printf '%03d\n' $boot | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null || fail "counting"
if [ $boot -lt "$reboots" ]; then
    fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=32 --rw=randwrite --bs=4k --offset=4m \
        --size=8m --numjobs=2 --time_based --runtime=300 >/dev/null 2>&1 &
    usleep 700000
    reboot -f
    fail "the reboot did not come"
fi
sum vda
