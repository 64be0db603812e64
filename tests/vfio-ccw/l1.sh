# shellcheck shell=dash
# shellcheck disable=SC2154 # the variables are words of the kernel command line, and the functions tests/e2e/client-init.sh's
# In the middle machine: gives devices to the kernel's vfio-ccw, and runs the image in a machine of its own that has them.
#
#   devices    device numbers, separated by commas
#   selftest   what the image does
#   window     where in the image's machine files are laid over its memory, if any; see tests/vfio-ccw/lay
#   runs       how often, one after the other; each but the last is killed in the middle
#
# What the image prints is on the console, between "MARK running" and "MARK ended".

while read -r module; do
    insmod "/mod/$module.ko" || fail "the module $module does not load"
done </mod/vfio-ccw

arguments=
for device in $(echo "$devices" | tr , ' '); do
    there=/sys/bus/ccw/devices/0.0.$device
    wait_for "$there" 5 || fail "there is no device 0.0.$device"
    id=$(basename "$(dirname "$(readlink -f "$there")")")
    subchannel=/sys/bus/css/devices/$id
    echo "$id" >"$subchannel/driver/unbind"
    echo vfio_ccw >"$subchannel/driver_override"
    echo "$id" >/sys/bus/css/drivers/vfio_ccw/bind || fail "vfio_ccw does not take subchannel $id"
    uuid=00000000-0000-4000-8000-00000000$device
    echo "$uuid" >"$subchannel/mdev_supported_types/vfio_ccw-io/create" || fail "no mediated device for subchannel $id"
    arguments="$arguments -device vfio-ccw,sysfsdev=/sys/bus/mdev/devices/$uuid,devno=fe.0.$device"
done

# image [exec]: until it has ended.
# shellcheck disable=SC2086 # words
image() {
    "$@" ${window:+lay /lib/libstellwerk_overlay.so $window} qemu-system-s390x -accel tcg -m 16M \
        -nodefaults -nographic -no-reboot -action panic=exit-failure \
        -kernel /image -append "selftest=$selftest vfio ${window:+window=$window}" $arguments \
        -chardev stdio,id=console,signal=off -device sclpconsole,chardev=console </dev/null
}

while [ "${runs:-1}" -gt 1 ]; do
    runs=$((runs - 1))
    : >/tmp/killed
    image exec >/tmp/killed 2>&1 &
    tenths=300
    until [ "$(grep -c ^PASS /tmp/killed)" -ge $((10 * runs)) ] || [ $tenths = 0 ]; do
        tenths=$((tenths - 1))
        usleep 100000
    done
    kill -KILL $! || fail "it has ended before it could be killed"
    wait
    mark "killed after $(grep -c ^PASS /tmp/killed) tests"
done
mark "running"
image 2>&1
mark "ended $?"
dmesg | grep -E 'vfio|BUG|WARNING|Oops' | sed 's/^/dmesg| /'
