# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Lies in the initial RAM disk that is on the disk, and nowhere else: says so, counts on the disk how often it has run, and looks again
# and again whether what was put down is there, past the page cache.
mark "IPL from the disk by zipl's words $zipled"
mount -t ext4 /dev/vda1 /mnt || fail "mount"
seq 1 1000000 | head -c 4m >/tmp/want
ipls=1
[ ! -e /mnt/ipls ] || ipls=$(($(cat /mnt/ipls) + 1))
echo "$ipls" >/mnt/ipls || fail "the count cannot be written"
sync
looks=0
while true; do
    echo 3 >/proc/sys/vm/drop_caches
    cmp /mnt/data /tmp/want || fail "the data are others"
    [ "$(cat /mnt/ipls)" = "$ipls" ] || fail "the count is another"
    looks=$((looks + 1))
    mark "IPL $ipls, look $looks"
    usleep 300000
done
