# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "an image is moved away over a restart of the appliance and back: the other disk is served meanwhile, and this one's client goes on"

disk good 16M
disk bad 16M
client steady 256M
client patient 256M
gives steady good
gives patient bad
backend_start

start steady steady seconds=12
start patient steady seconds=12
client_mark steady "under load" 60
client_mark patient "under load" 60
mv "$(image_of bad)" "$(image_of bad).away"
appliance restart
reason=$(appliance fails disks bad)
say "the status says: $reason"
[[ -n $reason ]]
client_wait steady 90
mv "$(image_of bad).away" "$(image_of bad)"
appliance recovers disks bad
client_wait patient 90
backend_stop

sums_agree steady vda good
sums_agree patient vda bad
