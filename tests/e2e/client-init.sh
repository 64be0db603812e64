#!/bin/busybox sh
# shellcheck shell=dash
# /init of the stock client: the only file in its initramfs that is not Debian's.
#
# It loads the modules for the disk, waits for /dev/vda, and then runs /t.sh when the archive has one (the client side
# of a test), or else gives a shell on the console. Words of the kernel command line that start with "t." are handed to
# the script as variables: t.seed=7 becomes $seed. A script reports by lines on the console:
#
#   MARK word…      it has come this far; the host waits for such lines
#   RESULT pass     the end, with RESULT fail and a reason otherwise
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mkdir -p /dev/shm /run
ln -sf /proc/mounts /etc/mtab

mark() { echo "MARK $*"; }
uptime_ms() { local up; read -r up _ </proc/uptime; echo "${up%.*}${up#*.}0"; }
finish() {
    echo "RESULT $*"
    sync
    poweroff -f
}
fail() { finish "fail: $*"; }

# sum DEVICE: what the device reads as, for the host to compare with the image.
sum() {
    local digest
    digest=$(sha256sum "/dev/$1") || fail "/dev/$1 cannot be read"
    echo "SUM $1 ${digest%% *}"
}

# wait_for PATH SECONDS
wait_for() {
    local n=$(($2 * 20))
    until [ -e "$1" ]; do
        n=$((n - 1))
        [ $n -gt 0 ] || return 1
        usleep 50000
    done
}

shell=
read -r command_line </proc/cmdline
for word in $command_line; do
    case $word in
        t.*=*) eval "${word#t.}" ;;
        shell) shell=yes ;;
    esac
done

while read -r module; do
    insmod "/mod/$module.ko" || echo "client: module $module does not load"
done </mod/order

wait_for /dev/vda "${disk_wait:-20}" || echo "client: there is no /dev/vda"
mark "up $(uname -r) after $(uptime_ms) ms"

if [ -e /t.sh ] && [ -z "$shell" ]; then
    # shellcheck source=/dev/null
    . /t.sh
    finish pass
fi

echo
echo "This is a stock Debian s390x Linux, $(uname -r). Its disk:"
fdisk -l /dev/vda 2>/dev/null | sed -n 1,3p
echo
setsid cttyhack sh
poweroff -f
