# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "a full file system under one of two disks: its client gets I/O errors and goes on when there is room, the other does not notice"

small_file_system small 4M
disk good 16M
disk bad 16M
mv "$(image_of bad)" "$SCENE/small/"
ln -s small/bad.img "$(image_of bad)"
client steady 256M
client poor 256M
gives steady good
gives poor bad
backend_start

start steady steady seconds=10
start poor full
client_mark steady "under load" 60
client_mark poor "no room" 90
client_wait steady 90
mount -o remount,size=32M "$SCENE/small"
client_wait poor 60
backend_stop

sums_agree steady vda good
sums_agree poor vda bad
