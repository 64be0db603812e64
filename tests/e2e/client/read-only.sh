# shellcheck shell=dash
[ "$(cat /sys/block/vda/ro)" = 1 ] || fail "the disk does not say that it is read-only"
blockdev --setrw /dev/vda 2>/dev/null
dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync 2>/dev/null && fail "a write went through"
/bin/blkdiscard --force /dev/vda 2>/dev/null && fail "a discard went through"
sum vda
