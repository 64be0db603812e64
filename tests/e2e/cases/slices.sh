# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "two clients at once, on slices of one disk: each reads what it wrote, none reaches past its slice, and what lies between stays as it was"

# 16 MiB each, with 1 MiB before, between and after that belongs to nobody.
disk data 35M
client first 256M
client second 256M
gives first data start=2048 size=32768
gives second data start=36864 size=32768

head -c 35M /dev/urandom >"$(image_of data)"
gaps() { for start in 0 34816 69632; do sum_of_image data "$start" 2048; done; }
before=$(gaps)

backend_start
start first slice sectors=32768
start second slice sectors=32768
client_wait first 120
client_wait second 120
backend_stop

sums_agree first vda data 2048 32768
sums_agree second vda data 36864 32768
expect "$(gaps)" "$before" "what lies between the slices has changed"
