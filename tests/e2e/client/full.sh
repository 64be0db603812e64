# shellcheck shell=dash
# Fills a disk that has not as much room as it says: that is an error and no more. Later there is room.
dd if=/dev/zero bs=64k count=256 2>/dev/null | tr '\0' a | dd of=/dev/vda bs=64k conv=fsync 2>/dev/null && fail "there was room"
mark no room
n=0
until dd if=/dev/zero bs=64k count=256 2>/dev/null | tr '\0' b | dd of=/dev/vda bs=64k conv=fsync 2>/dev/null; do
    n=$((n + 1))
    [ $n -lt 120 ] || fail "there is no room"
    sleep 0.5
done
sum vda
