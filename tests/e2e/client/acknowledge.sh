# shellcheck shell=dash
# Writes one block after the other and says when each is safe, while fio keeps the queues full elsewhere.
mark under load
fio --name=load --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=32 --rw=randrw --bs=4k --offset=8m \
    --size=8m --time_based --runtime=300 >/dev/null 2>&1 &
block=1
while [ $block -lt 2000 ]; do
    yes "block $block" | head -c 4096 | dd of=/dev/vda bs=4096 seek=$block conv=fsync,notrunc 2>/dev/null || fail "block $block"
    echo "ACK $block"
    block=$((block + 1))
done
fail "nobody stopped"
