# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Partitions the disk, makes an ext4 file system, fills it with files grown from a seed, and tells the sums of what it
# reads back after the caches are gone. The host makes the same files and compares all three.
echo "client: partitioning /dev/vda"
echo 'start=2048, type=83' | sfdisk --quiet --label dos /dev/vda || fail "sfdisk"
wait_for /dev/vda1 10 || fail "there is no /dev/vda1"
echo "client: making a file system"
mkfs.ext4 -q -F /dev/vda1 || fail "mkfs.ext4"
mount -t ext4 /dev/vda1 /mnt || fail "mount"

# Files of many sizes; every line differs, so a block in the wrong place is seen.
file=1
while [ $file -le "$files" ]; do
    seq $((seed * 1000 + file)) $((seed * 1000 + file + 60000)) | head -c $((file * file * 700 + file)) >/mnt/file-$file
    file=$((file + 1))
done
dd if=/dev/urandom of=/mnt/random bs=1M count=8 2>/dev/null || fail "writing"
sync
echo "client: wrote $((files + 1)) files, $(du -sm /mnt | cut -f1) MiB"

# Not from the page cache: after the file system has been put away and the caches dropped, the disk is read again.
umount /mnt || fail "umount"
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 /dev/vda1 /mnt || fail "the second mount"
cd /mnt || fail "cd"
echo "client: reading them back"
for file in file-* random; do
    digest=$(sha256sum "$file") || fail "reading $file"
    echo "SUM $file ${digest%% *}"
done
cd /
umount /mnt || fail "the second umount"
