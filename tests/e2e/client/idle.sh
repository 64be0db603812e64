# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# Uses the disk once, and then only has it.
dd if=/dev/vda of=/dev/null bs=1M count=8 2>/dev/null || fail "reading"
mark idle
sleep "$seconds"
