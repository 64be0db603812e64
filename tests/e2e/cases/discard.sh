# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "discard gives the blocks back and write-zeroes writes zeroes, each to its own range only, alone and among other requests"

disk data 32M
client linux 256M
gives linux data
head -c 32M /dev/urandom >"$(image_of data)"
edge_before=$(sum_of_image data 0 8192)
backend_start

start linux discard
client_wait linux 120
backend_stop

sums_agree linux vda data
expect "$(sum_of_image data 0 8192)" "$edge_before" "the first 4 MiB, which nothing was done to"
expect "$(sum_of_image data 8192 8192)" "$(head -c 4M /dev/zero | sha256sum | cut -d' ' -f1)" "4 MiB of zeroes"

# 8 MiB were discarded at once and 8 MiB block by block; write-zeroes may have freed its range or not.
allocated=$(($(stat -c '%b * %B' "$(image_of data)")))
((allocated <= 17 * 1024 * 1024)) || { warn "discarding freed nothing: $allocated bytes are still allocated"; exit 1; }
