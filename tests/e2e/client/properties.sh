# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
disk=/sys/block/vda
is() { # FILE WANTED
    read -r have <"$disk/$1"
    [ "$have" = "$2" ] || fail "$1 is $have, not $2"
}
is size "$sectors"
is ro 0
is removable 0
is queue/logical_block_size 512
[ "$(cat $disk/queue/physical_block_size)" -ge 512 ] || fail "the physical block is smaller than a sector"
[ "$(cat $disk/queue/max_segments)" -ge 32 ] || fail "requests have only $(cat $disk/queue/max_segments) segments"
[ "$(cat $disk/queue/discard_max_bytes)" -ge 65536 ] || fail "discards are at most $(cat $disk/queue/discard_max_bytes) bytes"
[ "$(cat $disk/queue/write_zeroes_max_bytes)" -ge 65536 ] || fail "so are write-zeroes"
[ -n "$(cat $disk/serial)" ] || fail "the disk has no name"
mark "name $(cat $disk/serial)"
set -- $disk/mq/*
[ $# = "$queues" ] || fail "there are $# queues, not $queues"

[ "$cache" = on ] && is cache_type "write back"
for mode in "write through" "write back"; do
    echo "$mode" >$disk/cache_type || fail "the disk cannot be switched to $mode"
    is cache_type "$mode"
    seq 1 20000 | head -c 64k | dd of=/dev/vda bs=4k conv=fsync 2>/dev/null || fail "writing, $mode"
done
sum vda
