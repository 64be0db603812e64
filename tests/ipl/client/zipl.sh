# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Makes the disk one that a VM can be IPLed from: kernel, initial RAM disk and boot loader, and data that the VM is to find there.
printf 'label: dos\n,,L\n' | sfdisk -q /dev/vda || fail "sfdisk"
wait_for /dev/vda1 10 || fail "there is no partition"
mkfs.ext4 -q -F /dev/vda1 || fail "mkfs.ext4"
mount -t ext4 /dev/vda1 /mnt || fail "mount"
cp /boot/vmlinuz /boot/initrd /mnt/ || fail "the kernel does not fit"
seq 1 1000000 | head -c 4m >/mnt/data || fail "the data do not fit"
zipl -t /mnt -i /mnt/vmlinuz -r /mnt/initrd -P "quiet nokaslr panic=-1 rdinit=/init t.zipled=$token" || fail "zipl"
umount /mnt || fail "umount"
