# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# The cases on Hercules, of which each boots the image there: what it drives, DASD before all.
#
# To be sourced by run.sh, whose vocabulary they use.

case_hercules_boot() { # list-directed IPL on Hercules: banner and subchannels
    product
    hercules FFF ''
    says "$LOG" 'boot: stellwerk [0-9]'
    says "$LOG" 'boot: 64 MiB of storage'
    says "$LOG" 'css: 0\.0\.0a80 0\.0\.0000 +3990/.. 3390/.. '
    says "$LOG" 'css: 0\.0\.0a81 0\.0\.0001 +3990/'
    says "$LOG" 'nothing to serve'
}

# ipl_dasd OPTION…: IPL from volumes that mkipl has made ready, of either image: from tracks that are in the VTOC, and of a
# volume that has none.
ipl_dasd() {
    local volumes=$SCENE/ipl images
    images=$(dirname "$IMAGE_ELF")
    mkdir -p "$volumes"
    python3 "$here/dasd.py" make-linux "$volumes/listed.3390" LISTED 4
    python3 "$here/dasd.py" make-empty "$volumes/empty.3390" EMPTY1 4
    "$HOST_PROGRAM" mkipl "$images/stellwerk.bin" "$volumes/listed.3390" --append log=debug
    "$HOST_PROGRAM" mkipl "$(dirname "$IMAGE")/stellwerk.bin" "$volumes/empty.3390" --append selftest=exit
    # What is on the command line of list-directed IPL is not for these.
    hercules FFF nothing --volume "$volumes/listed.3390" --ipl 0A80 "$@"
    says "$LOG" 'boot: stellwerk [0-9]'
    says "$LOG" 'boot: command line: log=debug$'
    says "$LOG" 'css: 0\.0\.0a80 0\.0\.0000 +3990/.. 3390/.. '
    says "$LOG" 'disk: 0\.0\.0a80 2784 KiB in blocks of 4096'
    hercules FFF nothing --volume "$volumes/listed.3390" --volume "$volumes/empty.3390" --ipl 0A81 "$@"
    says "$LOG" 'selftest: exit'
    # Hercules's own tools see the data set.
    dasdls "$volumes/listed.3390" >"$LOG.vtoc" 2>&1
    says "$LOG.vtoc" '^STELLWERK\.IPL *$'
    rm -r "$volumes"
}

case_hercules_ipl() { # IPL from DASD there, the command line included
    ipl_dasd
}
case_hercules_ipl_async() { # the same with programs that run on their own
    ipl_dasd --dasd nosyncio
}
case_hercules_ipl_fixed() { # IPL from a fixed-block disk there
    local volume=$SCENE/ipl.9336
    python3 "$here/dasd.py" make-fixed "$volume" FIXED1 5001
    "$HOST_PROGRAM" mkipl "$(dirname "$IMAGE_ELF")/stellwerk.bin" "$volume" --append log=debug
    hercules FFF nothing --volume "$volume" --ipl 0A80
    says "$LOG" 'boot: command line: log=debug$'
    says "$LOG" 'disk: 0\.0\.0a80 2499 KiB in blocks of 512'
    rm "$volume"
}
case_hercules_input() { # what the operator types there arrives
    hercules FFF selftest=echo --type 'echo: type=>.ready for 42' --type 'echo: ready=>.end'
    says "$LOG" '^echo: ready for 42$'
}
case_hercules_css() { # subchannels of DASD there, whose programs run within START SUBCHANNEL
    hercules FFF selftest=css
    silent "$LOG" '^FAIL'
    says "$LOG" '^[1-9][0-9]* passed, 0 failed'
    says "$LOG" "$NO_WORD"
}
case_hercules_css_async() { # the same with programs that run on their own, and can be busy, halted and cleared
    hercules FFF selftest=css --dasd nosyncio
    silent "$LOG" '^FAIL'
    says "$LOG" '^[1-9][0-9]* passed, 0 failed'
    says "$LOG" '^PASS: .*CSCH ends a running program'
}

# dasd_test OPTION…: the driver of count-key-data disks on volumes of both layouts, 4096 and 1024 bytes a record, and one
# that is not formatted; then what is on them.
dasd_test() {
    local volumes=$SCENE/volumes PATIENCE=80
    mkdir -p "$volumes"
    python3 "$here/dasd.py" make-linux "$volumes/cdl.3390" LINUX1 12
    python3 "$here/dasd.py" make-ldl "$volumes/ldl.3390" LINUX2 10 4096
    python3 "$here/dasd.py" make-ldl "$volumes/small.3390" LINUX3 10 1024
    python3 "$here/dasd.py" make-empty "$volumes/empty.3390" EMPTY1 10
    hercules FFF selftest=dasd "$@" --volume "$volumes/cdl.3390" --volume "$volumes/ldl.3390" \
        --volume "$volumes/small.3390" --volume "$volumes/empty.3390" --patience 70
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^27 passed, 0 failed'
    says "$LOG" 'dasd: 0\.0\.0a80 3390/.. 12 cylinders of 15, VOL1 \(CDL\) LINUX1, 12 records of 4096 a track, 2136 blocks from 24, HRC'
    says "$LOG" 'dasd: 0\.0\.0a81 3390/.. 10 cylinders of 15, LNX1 \(LDL\) LINUX2, 12 records of 4096 a track, 1797 blocks from 3, HRC'
    says "$LOG" 'dasd: 0\.0\.0a82 3390/.. 10 cylinders of 15, LNX1 \(LDL\) LINUX3, 33 records of 1024 a track, 4947 blocks from 3, HRC'
    says "$LOG" 'dasd: 0\.0\.0a83 not formatted: no cylinder 0 head 2 record 1'
    python3 "$here/dasd.py" check "$volumes/cdl.3390" 24 "$LOG" 0.0.0a80
    python3 "$here/dasd.py" check "$volumes/ldl.3390" 3 "$LOG" 0.0.0a81
    python3 "$here/dasd.py" check "$volumes/small.3390" 3 "$LOG" 0.0.0a82
    rm -r "$volumes"
}

case_hercules_dasd() { # 3390 volumes read and written there; the host finds on them what it should
    dasd_test
}
case_hercules_dasd_async() { # the same with programs that run on their own, some of which are halted and cleared
    dasd_test --dasd nosyncio
    says "$LOG" '^dasd: 0\.0\.0a80 .* retries: [1-9]'
}

case_hercules_dasd_partitions() { # the data sets of a VTOC are partitions: those that Linux makes, and those of dasdload
    local linux=$SCENE/linux.3390 zos=$SCENE/zos.3390
    python3 "$here/dasd.py" make-linux "$linux" LINUX1 12
    # In one piece and not; by format 1 and format 8; before the first track that is served, and behind the last.
    python3 "$here/dasd.py" partition "$linux" 1:2-89 8:90-179 1:90-99,110-120 1:1-3 1:170-180 1:179-179
    python3 "$here/dasd.py" make-zos "$zos" ZVOL01 4
    hercules FFF selftest=dasd-errors --dasd ro --volume "$linux" --volume "$zos"
    sed -n 's/^dasd: \(.* partition .*\)/\1/p' "$LOG" >"$LOG.partitions"
    diff - "$LOG.partitions" <<'END'
0.0.0a80 partition 1: 1056 blocks from 0
0.0.0a80 partition 2: 1080 blocks from 1056
0.0.0a80 partition 6: 12 blocks from 2124
0.0.0a81 partition 2: 240 blocks from 132
0.0.0a81 partition 3: 180 blocks from 516
END
    rm "$linux" "$zos"
}

# dasd_served OPTION…: a virtio disk over a volume, read and written by a client in the image; as many requests at random as
# STELLWERK_DASD_REQUESTS says.
dasd_served() {
    local volume=$SCENE/served.3390 requests=${STELLWERK_DASD_REQUESTS:-16384} PATIENCE
    PATIENCE=$((40 + requests / 100))
    python3 "$here/dasd.py" make-linux "$volume" LINUX1 30
    hercules FFF "selftest=dasd-served requests=$requests" "$@" --volume "$volume" --patience $((PATIENCE - 5))
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^4 passed, 0 failed'
    python3 "$here/dasd.py" check "$volume" 24 "$LOG" served
    rm "$volume"
}

case_hercules_dasd_served() { # a virtio disk over a volume, as a client sees it; the host finds its blocks on the volume
    dasd_served
}
case_hercules_dasd_served_async() { # the same with programs that run on their own
    dasd_served --dasd nosyncio
}

# dasd_admin OPTION…: volumes made by dasdinit, which are not formatted, are formatted in the image, in four ways; then all of their
# records are compared with those of other programs, and Hercules' own tools read them.
dasd_admin() {
    local volumes=$SCENE/admin layout block volume made=()
    rm -rf "$volumes"
    mkdir -p "$volumes"
    for volume in {cdl-4096,ldl-4096,cdl-512,ldl-1024}.3390; do
        # The first one is large enough for a mark in the middle.
        python3 "$here/dasd.py" make-empty "$volumes/$volume" EMPTY1 "$([[ $volume == cdl-4096.3390 ]] && echo 25 || echo 10)"
        made+=(--volume "$volumes/$volume")
    done
    hercules FFF selftest=dasd-admin "$@" "${made[@]}"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^28 passed, 0 failed'
    says "$LOG" '^dasd: 0\.0\.0a80 formatted cdl 4096 375 tracks, went on at 3[0-9][0-9]$'
    for volume in {cdl-4096,ldl-4096,cdl-512,ldl-1024}.3390; do
        IFS=- read -r layout block <<<"${volume%.3390}"
        python3 "$here/dasd.py" formatted "$volumes/$volume" "$layout" "$block" LINUX1
    done
    dasdls "$volumes/cdl-4096.3390" >"$LOG.dasdls" 2>&1
    says "$LOG.dasdls" 'VOLSER=LINUX1'
    (cd "$volumes" && dasdseq cdl-4096.3390 -lrecl 4096 -abs 0 2 373 blocks) >"$LOG.dasdseq" 2>&1
    says "$LOG.dasdseq" 'wrote 4476 records'
    cmp -n $((4476 * 4096)) "$volumes/blocks" /dev/zero
    rm -r "$volumes"
}

case_hercules_dasd_admin() { # 3390 volumes formatted there have the records that other programs make
    dasd_admin
}
case_hercules_dasd_admin_async() { # the same with programs that run on their own
    dasd_admin --dasd nosyncio
}

# dasd_lending OPTION…: a volume is lent to a client between the programs of its driver, and formatted by it in the end.
dasd_lending() {
    local volume=$SCENE/lent.3390
    python3 "$here/dasd.py" make-linux "$volume" LINUX1 10
    hercules FFF selftest=dasd-lending "$@" --volume "$volume"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^6 passed, 0 failed'
    says "$LOG" 'given up: it did not come back as it was'
    python3 "$here/dasd.py" formatted "$volume" ldl 1024 LINUX1
    rm "$volume"
}

case_hercules_dasd_lending() { # a volume lent to a client, which reserves, shows and formats it through the proxy
    dasd_lending
}
case_hercules_dasd_lending_async() { # the same with programs that run on their own
    dasd_lending --dasd nosyncio
}

# dasd_copy OPTION…: a file system that the host has put on one volume is copied to another one, through a virtio disk, and is
# taken from there again.
dasd_copy() {
    local to=$SCENE/to.3390 from=$SCENE/from.3390 blocks=$(((40 * 15 - 2) * 12))
    rm -f "$SCENE"/{made,found}.ext4
    mke2fs -q -t ext4 -b 4096 -d "$here/.." "$SCENE/made.ext4" $blocks
    python3 "$here/dasd.py" make-linux "$to" LINUX1 40
    python3 "$here/dasd.py" make-linux "$from" LINUX2 40
    python3 "$here/dasd.py" put "$from" 24 "$SCENE/made.ext4"
    hercules FFF selftest=dasd-copy "$@" --volume "$to" --volume "$from"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^1 passed, 0 failed'
    python3 "$here/dasd.py" get "$to" 24 "$SCENE/found.ext4"
    cmp "$SCENE/made.ext4" "$SCENE/found.ext4"
    e2fsck -fn "$SCENE/found.ext4"
    rm "$to" "$from" "$SCENE"/{made,found}.ext4
}

case_hercules_dasd_copy() { # an ext4 file system of the host's, written through a virtio disk over a volume and taken out again
    dasd_copy
}
case_hercules_dasd_copy_async() { # the same with programs that run on their own
    dasd_copy --dasd nosyncio
}

# dasd_errors DASD-OPTIONS [OPTION…]: damaged records fail alone and with their place.
dasd_errors() {
    local volume=$SCENE/damaged.3390 options=$1 lost
    shift
    python3 "$here/dasd.py" make-linux "$volume" LINUX1 4
    python3 "$here/dasd.py" damage "$volume" 1 2 count
    python3 "$here/dasd.py" damage "$volume" 2 3 length
    python3 "$here/dasd.py" damage "$volume" 3 4 erase
    hercules FFF selftest=dasd-errors --dasd "$options" --volume "$volume" "$@"
    silent "$LOG" '^FAIL'
    says "$LOG" 'no record found at cylinder 1 head 2 record 4,'
    says "$LOG" 'equipment check at cylinder 2 head 3 record 4,'
    says "$LOG" 'no record found at cylinder 3 head 4 record 1,'
    # Records 4 of one track, 4 to 12 of another one, and all of the third; the two first tracks are not served.
    lost=$(sed -nE 's/^dasd: lost ([0-9]+)$/\1/p' "$LOG" | tr '\n' ' ')
    [[ $lost == "183 $(seq -s ' ' 375 383) $(seq -s ' ' 564 575) " ]] || { warn "lost: $lost"; return 1; }
    says "$LOG" '^dasd: lost 3 long requests$'
    rm "$volume"
}

case_hercules_dasd_errors() { # damaged records
    dasd_errors ''
    says "$LOG" '^3 passed, 0 failed'
    says "$LOG" 'dasd: a write ends with Ok'
}
case_hercules_dasd_errors_async() { # the same with programs that run on their own, read-only, unplugged and plugged in again
    dasd_errors 'nosyncio ro' --type 'dasd: may go=>detach 0A80' \
        --type "dasd: may come back=>attach 0A80 3390 $SCENE/damaged.3390 nosyncio ro"
    says "$LOG" '^5 passed, 0 failed'
    says "$LOG" 'write inhibited at cylinder 3 head 14 record 12'
    says "$LOG" 'dasd: a write ends with IoError'
}

case_hercules_fba() { # fixed-block disks of every type that Hercules has; the host finds on them what it should
    local type volumes=()
    for type in 3370 9336 3310 9313 9332 9335 0671; do
        python3 "$here/dasd.py" make-fixed "$SCENE/fixed.$type" FIXED1 5001
        volumes+=(--volume "$SCENE/fixed.$type")
    done
    hercules FFF selftest=dasd "${volumes[@]}"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^63 passed, 0 failed'
    says "$LOG" 'dasd: 0\.0\.0a80 5001 blocks, VOL1 FIXED1, 4999 blocks from 2'
    python3 "$here/dasd.py" check-fixed "$SCENE/fixed.3370" 512 "$LOG" 0.0.0a80
    python3 "$here/dasd.py" check-fixed "$SCENE/fixed.9336" 512 "$LOG" 0.0.0a81
    rm "$SCENE"/fixed.*
}

case_hercules_fba_compressed() { # one in a compressed file, which Hercules's own tool expands for the host
    local volume=$SCENE/packed.9336
    rm -f "$volume"
    dasdinit -z "$volume" 9336 FIXED1 5001
    hercules FFF selftest=dasd --volume "$volume"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^9 passed, 0 failed'
    rm -f "$SCENE/plain.9336"
    dasdcopy -o FBA "$volume" "$SCENE/plain.9336" >"$LOG.copy" 2>&1
    python3 "$here/dasd.py" check-fixed "$SCENE/plain.9336" 512 "$LOG" 0.0.0a80
    rm "$volume" "$SCENE/plain.9336"
}

case_hercules_fba_sync() { # programs that run within START SUBCHANNEL, as far as Hercules gets with them
    local volume=$SCENE/packed.9336
    rm -f "$volume"
    dasdinit -z "$volume" 9336 FIXED1 5001
    # A transfer that goes on in the next group of 120 blocks ends too early there. Short requests get through one by one.
    hercules FFF selftest=dasd-errors --dasd syncio --volume "$volume"
    silent "$LOG" '^FAIL'
    says "$LOG" '^3 passed, 0 failed'
    silent "$LOG" '^dasd: lost [0-9]+$'
    rm "$volume"
}

case_hercules_fba_served() { # a virtio disk over a fixed-block one, as a client sees it
    local volume=$SCENE/served.9336
    python3 "$here/dasd.py" make-fixed "$volume" FIXED1 50001
    hercules FFF "selftest=dasd-served requests=1000" --volume "$volume"
    silent "$LOG" '^(FAIL|SKIP)'
    says "$LOG" '^4 passed, 0 failed'
    python3 "$here/dasd.py" check-fixed "$volume" 4096 "$LOG" served
    rm "$volume"
}

case_hercules_fba_errors() { # one whose file the host cuts off, and which is unplugged, and plugged in again when it is whole
    local volume=$SCENE/cut.9336 lost
    python3 "$here/dasd.py" make-fixed "$volume" FIXED1 4930
    # Hercules reads groups of 120 blocks: of the last one, nothing is there.
    hercules FFF selftest=dasd-errors --volume "$volume" --type "HHCPN995E=>sh truncate -s $((4920 * 512)) $volume" \
        --type 'dasd: may go=>detach 0A80' --type "dasd: may come back=>sh truncate -s $((4930 * 512)) $volume" \
        --type "dasd: may come back=>attach 0A80 9336 $volume"
    silent "$LOG" '^FAIL'
    says "$LOG" '^5 passed, 0 failed'
    says "$LOG" 'equipment check at block 4920 or behind'
    says "$LOG" 'dasd: a write ends with Ok'
    lost=$(sed -nE 's/^dasd: lost ([0-9]+)$/\1/p' "$LOG" | tr '\n' ' ')
    [[ $lost == '4918 4919 4920 4921 4922 4923 4924 4925 4926 4927 ' ]] || { warn "lost: $lost"; return 1; }
    rm "$volume"
}

# proxy_passed: DASD that are passed through to the image itself have done what the hardware does.
proxy_passed() {
    local fact
    silent "$LOG" '^FAIL'
    says "$LOG" '^[1-9][0-9]* passed, 0 failed'
    says "$LOG" '^PASS: .*an ORB with any one bit changed harms nobody'
    says "$LOG" '^PASS: .*a SCHIB with any one bit changed harms nobody'
    says "$LOG" "$NO_WORD"
    says "$LOG" '^PASS: .*a suspended program goes on with RSCH'
    for fact in 'data chaining across pages' 'format-1 IDAWs' 'format-2 IDAWs of 2 KiB' 'format-2 IDAWs of 4 KiB' MIDAWs \
        'READ IPL over the program, whose format-0 CCWs search' 'READ IPL over the program, whose format-1 CCWs search' \
        'READ IPL over the program, whose format-0 CCWs go' 'READ IPL over the program, whose format-1 CCWs go' \
        'in the domain of its LOCATE RECORD'; do
        says "$LOG" "^PASS: 0\\.0\\.0a80 .*$fact"
    done
}
case_hercules_proxy() { # DASD there, through the proxy to a client in the image
    hercules FFF selftest=proxy
    proxy_passed
}
case_hercules_proxy_fixed() { # a fixed-block disk there, through the proxy
    local volume=$SCENE/proxied.9336
    python3 "$here/dasd.py" make-fixed "$volume" FIXED1 5001
    hercules FFF selftest=proxy --volume "$volume"
    silent "$LOG" '^FAIL'
    says "$LOG" '^[1-9][0-9]* passed, 0 failed'
    says "$LOG" '^PASS: 0\.0\.0a80 .*READ IPL over the program, which goes straight on with LOCATE'
    rm "$volume"
}

# proxy_ipl VOLUME OPTION…: the installed image, which mkipl has written there, is loaded by a client's channel program.
proxy_ipl() {
    local volume=$1 binary=${IMAGE_ELF%.elf}.bin
    shift
    "$HOST_PROGRAM" mkipl "$binary" "$volume"
    hercules FFF selftest=proxy-ipl --volume "$volume" --patience 25 "$@"
    says "$LOG" "^proxy-ipl: PSW 0008000080010000, sum $(python3 "$here/dasd.py" loaded "$binary" 0xA0000)$"
    says "$LOG" '^1 passed, 0 failed'
    rm "$volume"
}
case_hercules_proxy_ipl() { # what a 3390 has for IPL, loaded by a client through the proxy
    python3 "$here/dasd.py" make-linux "$SCENE/listed.3390" LISTED 4
    proxy_ipl "$SCENE/listed.3390"
}
case_hercules_proxy_ipl_async() { # the same with programs that run on their own
    python3 "$here/dasd.py" make-linux "$SCENE/listed.3390" LISTED 4
    proxy_ipl "$SCENE/listed.3390" --dasd nosyncio
}
case_hercules_proxy_ipl_fixed() { # the same from a fixed-block disk
    python3 "$here/dasd.py" make-fixed "$SCENE/ipl.9336" FIXED1 5001
    proxy_ipl "$SCENE/ipl.9336"
}
case_hercules_proxy_async() { # the same with programs that run on their own: endless ones, and one that the CPU changes
    hercules FFF selftest=proxy --dasd nosyncio
    proxy_passed
    says "$LOG" '^PASS: .*HSCH of a running program'
    says "$LOG" '^PASS: .*CSCH ends a running program'
    says "$LOG" '^PASS: .*the CCW that the CPU stores into it'
    says "$LOG" '^PASS: .*an endless program of seeks is halted'
    says "$LOG" '^PASS: .*an endless program of seeks is cleared'
}
