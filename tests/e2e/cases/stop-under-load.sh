# shellcheck shell=bash
# shellcheck source=scripts/scene.sh
proves "the service is stopped under load: it ends in order, at once, and every write that was acknowledged is in the image"

disk data 16M
client linux 256M
gives linux data queues=2
backend_start

start linux acknowledge smp=2
client_mark linux "under load" 60
wait_line "${CLIENT_LOG[linux]}" '^ACK 40\b' 60 "${CLIENT_PID[linux]}"
backend_stop
client_kill linux

# The client writes a block, flushes, and only then says so. Block N holds lines of "N".
last=$(client_says linux '^ACK ' | tail -n 1 | cut -d' ' -f2)
block_of() { { yes "block $1" 2>/dev/null || true; } | head -c 4096; }
for ((block = 1; block <= last; block++)); do
    want=$(block_of "$block" | sha256sum)
    have=$(dd if="$(image_of data)" bs=4096 skip="$block" count=1 status=none | sha256sum)
    expect "$have" "$want" "block $block of $last that were acknowledged"
done
say "$last blocks were acknowledged"
