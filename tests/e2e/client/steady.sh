# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Writes and verifies for a while, to be there while something happens to others; no request may fail.
mark under load
fio --name=steady --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth="${depth:-16}" --rw=randwrite --bs=4k --size=16m \
    --time_based --runtime="$seconds" --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_backlog=256 \
    --verify_state_save=0 >/tmp/out 2>&1 || {
    cat /tmp/out
    fail "fio found a difference or an error"
}
sum vda
