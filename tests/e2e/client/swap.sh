# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Works on more memory than there is, with the disk for what does not fit, until it is asked to power down.
mkswap /dev/vda >/dev/null || fail mkswap
swapon /dev/vda || fail swapon
echo 0 >/proc/sys/kernel/ctrl-alt-del
trap 'touch /tmp/stop' INT
load memory "$size" &
wait $!
status=$?
# It was interrupted by what asks to stop, or is through.
[ $status -le 128 ] || { wait $!; status=$?; }
[ $status = 0 ] || fail "the load ended with status $status"
