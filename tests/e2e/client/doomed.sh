# shellcheck shell=dash
# Puts down something that has to survive, and then writes elsewhere until it is killed.
seq 1 100000 | head -c 512k | dd of=/dev/vda bs=64k conv=fsync 2>/dev/null || fail "the first write"
mark under load
fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth="${depth:-32}" --rw=randwrite --bs=4k --offset=4m \
    --size=8m --time_based --runtime=300 >/tmp/out 2>&1
fail "the load ended"
