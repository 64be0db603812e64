# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "what a client writes, in every block size from 512 B to 1 MiB, at depth 64 and over four queues, it reads back, and the host sees it"

disk data 48M
client linux 256M
gives linux data queues=4
backend_start

start linux verify smp=4 queues=4
client_wait linux 180
sums_agree linux vda data
backend_stop
sums_agree linux vda data
