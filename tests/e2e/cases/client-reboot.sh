# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "a client reboots in the middle of its work, again and again, and finds its disk as it left it"

disk data 16M
client linux 256M
gives linux data queues=2
backend_start

start linux reboot smp=2 reboot=yes reboots=3
client_wait linux 120
backend_stop

expect "$(client_says linux '^MARK boot' | wc -l)" 3 "the number of boots"
sums_agree linux vda data
