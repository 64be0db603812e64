# shellcheck shell=dash
# The disks are told apart by their sizes; each is filled with its own.
wait_for /dev/vdc 10 || fail "there are not three disks"
[ "$(cat /sys/block/vda/size /sys/block/vdb/size /sys/block/vdc/size | tr '\n' ' ')" = "16384 24576 16384 " ] ||
    fail "the disks have $(cat /sys/block/vd?/size | tr '\n' ' ') sectors"
for disk in vda vdb vdc; do
    fio --name=$disk --filename=/dev/$disk --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=8k \
        --verify=pattern --verify_pattern="\"$disk\"%o" --do_verify=1 --verify_fatal=1 --verify_state_save=0 >/tmp/$disk.out 2>&1 &
    eval "$disk=$!"
done
for disk in vda vdb vdc; do
    eval "wait \$$disk" || {
        cat /tmp/$disk.out
        fail "fio found a difference or an error on $disk"
    }
    sum $disk
done
