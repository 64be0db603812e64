# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "a read-only disk can be read, cannot be written, and does not change"

disk data 16M
client linux 128M
gives linux data readonly=true
head -c 16M /dev/urandom >"$(image_of data)"
before=$(sum_of_image data)
backend_start

start linux read-only
client_wait linux 60
backend_stop

sums_agree linux vda data
expect "$(sum_of_image data)" "$before" "the image has changed"
