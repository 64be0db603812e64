# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Keeps all its disks busy and verifies them, until it is asked to power down. Then it has compared all that they hold.
echo 0 >/proc/sys/kernel/ctrl-alt-del
trap 'touch /tmp/stop' INT
load disks "$life" "$flushed" /dev/vd? &
wait $!
status=$?
# It was interrupted by what asks to stop, or is through.
[ $status -le 128 ] || { wait $!; status=$?; }
[ $status = 0 ] || fail "the load ended with status $status"
for disk in /dev/vd?; do sum "${disk#/dev/}"; done
