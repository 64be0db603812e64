# shellcheck shell=bash
# A scene: disks, clients, and the back end that serves the ones to the others. To be sourced after lib.sh.
#
#     scene DIR                              begin; everything lies in DIR
#     disk NAME SIZE [FORMAT]                an image DIR/NAME.img, sparse, new; raw, or qcow2
#     client NAME MEMORY                     a stock client
#     gives CLIENT DISK [KEY=VALUE…]         the client's next disk; keys as in the configuration (start, size,
#                                            readonly, queues, shared)
#     subchannel NAME NUMBER [KEY=VALUE…]    a subchannel of the appliance's to pass through; qemu=DEVICE is what QEMU gives it
#     passes CLIENT SUBCHANNEL [DEVICE]      the client's next subchannel, with the device number 0.0.DEVICE there
#     terminal CLIENT                        a 3270 terminal, with the socket $RUN/terminal, and a channel-level client that has it
#     small_file_system NAME SIZE            a file system of its own in DIR/NAME
#     backend_start, backend_stop            serve; end in order, and fail when the order was not kept
#     client_start NAME [OPTION…]            boot it; see there
#     client_wait NAME SECONDS               wait until it is off; fails when it did not report success
#     client_kill NAME                       no warning: as if its QEMU had crashed
#     scene_end                              for the exit trap: end whatever still runs
#
# BACKEND says who serves: `stellwerk`, or for comparison `qsd` (qemu-storage-daemon, by vhost-user-blk-pci) or `ccw`
# (the client's own QEMU, by virtio-blk-ccw).

BACKEND=${BACKEND:-stellwerk}

# Under TCG, a VM that shares memory needs two possible CPUs, or atomic operations are not atomic towards others.
if [[ $(uname -m) == s390x && -w /dev/kvm ]]; then ACCEL=kvm; else ACCEL=tcg; fi

scene() {
    SCENE=$1
    CONFIG=$SCENE/scene.toml
    # Several scenes at once, of several runs, must not meet.
    POOL=/dev/shm/stellwerk-$(basename "$SCENE")-$$
    # A socket's path has at most 107 characters.
    RUN=$SCENE/run
    ((${#RUN} <= 80)) || RUN=$(mktemp -d /tmp/stellwerk.XXXXXX)
    BACKEND_LOG=$SCENE/backend.log
    BACKEND_PID=
    APPLIANCE_ARGS=()
    APPLIANCE_APPEND=
    DISK_OPTIONS=()
    DISKS=()
    CLIENTS=()
    SUBCHANNELS=
    MOUNTS=()
    declare -gA CLIENT_SUBCHANNELS=() DISK_FORMAT=() CLIENT_MEMORY=() CLIENT_DISKS=() CLIENT_PID=() CLIENT_LOG=() CLIENT_BOOTS=()
    mkdir -p "$SCENE" "$RUN"
    chmod 700 "$RUN"
}

scene_end() {
    local place
    end_all
    for place in "${MOUNTS[@]}"; do umount --lazy "$place"; done
    rm -f "${POOL:-}"
    [[ ${RUN:-} != /tmp/stellwerk.* ]] || rm -rf "$RUN"
}

image_of() { printf '%s\n' "$SCENE/$1.img"; }

disk() {
    local image
    image=$(image_of "$1")
    old_disk "$1" "${3:-raw}"
    rm -f "$image"
    case ${3:-raw} in
        raw) truncate -s "$2" "$image" ;;
        qcow2) qemu-img create -q -f qcow2 "$image" "$2" ;;
    esac
}

# old_disk NAME [FORMAT]: the image as it was left there.
old_disk() {
    DISKS+=("$1")
    DISK_FORMAT[$1]=${2:-raw}
}

client() {
    CLIENTS+=("$1")
    CLIENT_MEMORY[$1]=$2
    CLIENT_DISKS[$1]=
    CLIENT_SUBCHANNELS[$1]=
    CLIENT_BOOTS[$1]=0
}

# Both kept as the configuration has them.
subchannel() {
    local word
    SUBCHANNELS+=$(printf '\n[[subchannel]]\nname = "%s"\ndevice = "0.0.%s"\n' "$1" "$2")$'\n'
    for word in "${@:3}"; do
        case $word in
            qemu=*) SUBCHANNELS+="qemu = \"${word#*=}\""$'\n' ;;
            *) SUBCHANNELS+="${word%%=*} = ${word#*=}"$'\n' ;;
        esac
    done
}
passes() {
    CLIENT_SUBCHANNELS[$1]+=$'\n[[client.subchannel]]\n'"subchannel = \"$2\""$'\n'
    [[ -z ${3:-} ]] || CLIENT_SUBCHANNELS[$1]+="device = \"0.0.$3\""$'\n'
}

terminal() {
    APPLIANCE_ARGS+=(-chardev "socket,id=terminal,path=$RUN/terminal,server=on,wait=off,tn3270=on")
    subchannel terminal 3270 qemu=x-terminal3270,chardev=terminal
    [[ $1 == nobody ]] || { client "$1" 16M && passes "$1" terminal; }
}

small_file_system() {
    [[ $EUID -eq 0 ]] || skip "only root can mount a file system"
    mkdir -p "$SCENE/$1"
    mount -t tmpfs -o "size=$2" "$1" "$SCENE/$1"
    MOUNTS+=("$SCENE/$1")
}

# Kept as one line per disk: "DISK KEY=VALUE…".
gives() {
    local name=$1
    shift
    CLIENT_DISKS[$name]+="$*"$'\n'
}

# key NAME DEFAULT WORD…: the value of NAME among words of the form KEY=VALUE.
key() {
    local name=$1 value=$2 word
    shift 2
    for word; do [[ $word != "$name="* ]] || value=${word#*=}; done
    printf '%s\n' "$value"
}

# ---- the back ends ------------------------------------------------------------------------------------------------

backend_start() {
    case $BACKEND in
        stellwerk) start_stellwerk ;;
        qsd) start_qsd ;;
        ccw) ;;
        *) die "no such back end: $BACKEND" ;;
    esac
}

backend_stop() {
    [[ -n $BACKEND_PID ]] || return 0
    local pid=$BACKEND_PID
    BACKEND_PID=
    stop_process "$pid" 15 || { warn "the back end did not end within 15 s of SIGTERM"; return 1; }
    [[ $REPLY == 0 ]] || { warn "the back end ended with status $REPLY"; tail -n 15 "$BACKEND_LOG" >&2; return 1; }
}

write_config() {
    local name word words argument
    {
        printf '[appliance]\nimage = "%s"\nmemory = "16M"\nqemu = "qemu-system-s390x"\naccel = "auto"\n' "$IMAGE_ELF"
        printf 'append = "%s"\nrun_dir = "%s"\npool = "%s"\nqemu_args = [' "$APPLIANCE_APPEND" "$RUN" "$POOL"
        for argument in "${APPLIANCE_ARGS[@]}"; do printf '"%s", ' "${argument//\"/\\\"}"; done
        printf ']\n'
        for name in "${DISKS[@]}"; do
            printf '\n[[disk]]\nname = "%s"\nimage = "%s"\n' "$name" "$(image_of "$name")"
            for word in "format=${DISK_FORMAT[$name]}" "${DISK_OPTIONS[@]}"; do printf '%s = "%s"\n' "${word%%=*}" "${word#*=}"; done
        done
        for name in "${CLIENTS[@]}"; do
            printf '\n[[client]]\nname = "%s"\nmemory = "%s"\n' "$name" "${CLIENT_MEMORY[$name]}"
            while read -ra words; do
                ((${#words[@]})) || continue # a client without a disk
                printf '\n[[client.disk]]\ndisk = "%s"\n' "${words[0]}"
                for word in "${words[@]:1}"; do printf '%s = %s\n' "${word%%=*}" "${word#*=}"; done
            done <<<"${CLIENT_DISKS[$name]%$'\n'}"
            printf '%s' "${CLIENT_SUBCHANNELS[$name]}"
        done
        printf '%s' "$SUBCHANNELS"
    } >"$CONFIG"
}

start_stellwerk() {
    write_config
    rm -f "$RUN/console.log"
    spawn "$BACKEND_LOG" "$HOST_PROGRAM" up "$CONFIG"
    BACKEND_PID=$REPLY
    if ! wait_line "$BACKEND_LOG" '\bready\b' 60 "$BACKEND_PID" || ! "$HOST_PROGRAM" status "$CONFIG" >/dev/null; then
        warn "Stellwerk did not come up; the end of its log:"
        tail -n 25 "$BACKEND_LOG" >&2
        tail -n 25 "$RUN/console.log" >&2 2>/dev/null || true
        return 1
    fi
}

socket_of() { printf '%s\n' "$RUN/$1-$2.sock"; } # CLIENT INDEX

start_qsd() {
    local name line words index start size arguments=() sockets=() socket writable
    for name in "${DISKS[@]}"; do
        arguments+=(--blockdev "driver=file,node-name=$name-file,filename=$(image_of "$name"),discard=unmap,aio=threads,cache.direct=off"
            --blockdev "driver=${DISK_FORMAT[$name]},node-name=$name,file=$name-file,discard=unmap")
    done
    for name in "${CLIENTS[@]}"; do
        index=0
        while read -ra words; do
            ((${#words[@]})) || continue
            start=$(key start 0 "${words[@]}") size=$(key size '' "${words[@]}")
            socket=$(socket_of "$name" "$index")
            writable=on
            [[ $(key readonly false "${words[@]}") == false ]] || writable=off
            line=driver=raw,node-name=$name-$index,file=${words[0]},discard=unmap
            [[ $start == 0 && -z $size ]] || line+=,offset=$((start * 512))
            [[ -z $size ]] || line+=,size=$((size * 512))
            [[ $writable == on ]] || line+=,read-only=on
            arguments+=(--blockdev "$line" --export "vhost-user-blk,id=e-$name-$index,node-name=$name-$index,addr.type=unix,addr.path=$socket,writable=$writable,num-queues=$(key queues 1 "${words[@]}")")
            sockets+=("$socket")
            index=$((index + 1))
        done <<<"${CLIENT_DISKS[$name]%$'\n'}"
    done
    rm -f "${sockets[@]}"
    spawn "$BACKEND_LOG" qemu-storage-daemon "${arguments[@]}"
    BACKEND_PID=$REPLY
    for socket in "${sockets[@]}"; do
        wait_path "$socket" 10 "$BACKEND_PID" || { tail -n 5 "$BACKEND_LOG" >&2; return 1; }
    done
}

# ---- the clients --------------------------------------------------------------------------------------------------

# client_arguments NAME: what QEMU needs to give the client its memory, CPUs and disks, in the array ARGUMENTS.
client_arguments() {
    local name=$1 memory=${CLIENT_MEMORY[$1]} index=0 words
    case $BACKEND in
        stellwerk)
            # Printed ready for a shell, so a shell takes it apart.
            eval "ARGUMENTS=($("$HOST_PROGRAM" client-args "$CONFIG" "$name"))"
            return
            ;;
        qsd)
            ARGUMENTS=(-machine "s390-ccw-virtio,memory-backend=ram" -m "$memory" -smp "1,maxcpus=2"
                -object "memory-backend-memfd,id=ram,size=$memory,share=on")
            ;;
        ccw) ARGUMENTS=(-machine s390-ccw-virtio -m "$memory" -smp "1,maxcpus=2") ;;
    esac
    while read -ra words; do
        ((${#words[@]})) || continue # a client without a disk
        if [[ $BACKEND == qsd ]]; then
            ARGUMENTS+=(-chardev "socket,id=disk$index,path=$(socket_of "$name" "$index"),reconnect-ms=200"
                -device "vhost-user-blk-pci,chardev=disk$index,num-queues=$(key queues 1 "${words[@]}")")
        else
            ARGUMENTS+=(-blockdev "driver=file,node-name=disk$index,filename=$(image_of "${words[0]}"),discard=unmap,aio=threads,cache.direct=off"
                -device "virtio-blk-ccw,drive=disk$index,num-queues=$(key queues 1 "${words[@]}")")
        fi
        index=$((index + 1))
    done <<<"${CLIENT_DISKS[$name]%$'\n'}"
    ARGUMENTS+=(-accel "$ACCEL")
}

# client_command NAME [script=FILE] [smp=N] [reboot=yes] [WORD=VALUE…]: the whole command in the array COMMAND, without
# the console's character device, whose id has to be "console". FILE is what the client runs, and each further word a
# variable for it; without a FILE the client gives a shell.
client_command() {
    local name=$1 script='' append="quiet nokaslr panic=-1 rdinit=/init" more=(-no-reboot) word
    shift
    for word; do
        case $word in
            script=*) script=${word#*=} ;;
            smp=*) more+=(-smp "${word#*=},maxcpus=$((${word#*=} + 1))") ;;
            reboot=yes) more+=(-action reboot=reset) ;; # the last one counts
            *) append+=" t.$word" ;;
        esac
    done
    # Without a script, the archive as it is; else with the script, and fio where there is one, appended.
    cp "$TARGET/client/base.cpio" "$SCENE/$name.initrd"
    if [[ -n $script ]]; then
        mkdir -p "$SCENE/$name.script"
        cp "$script" "$SCENE/$name.script/t.sh"
        [[ ! -e $TARGET/client/fio.cpio ]] || cat "$TARGET/client/fio.cpio" >>"$SCENE/$name.initrd"
        (cd "$SCENE/$name.script" && echo t.sh | cpio --create --format=newc --quiet) >>"$SCENE/$name.initrd"
    fi
    client_arguments "$name"
    COMMAND=(qemu-system-s390x -nodefaults -nographic "${ARGUMENTS[@]}" -device "sclpconsole,chardev=console"
        -kernel "$TARGET/client/vmlinuz" -initrd "$SCENE/$name.initrd" -append "$append"
        -action panic=exit-failure "${more[@]}")
}

# client_start NAME [OPTION…]: boot the client in the background, with the options of client_command.
client_start() {
    local name=$1
    client_command "$@"
    CLIENT_BOOTS[$name]=$((CLIENT_BOOTS[$name] + 1))
    CLIENT_LOG[$name]=$SCENE/$name.${CLIENT_BOOTS[$name]}.log
    spawn "${CLIENT_LOG[$name]}" "${COMMAND[@]}" -chardev stdio,id=console,signal=off
    CLIENT_PID[$name]=$REPLY
}

# client_mark NAME PATTERN SECONDS: wait until the client has said "MARK PATTERN".
client_mark() {
    wait_line "${CLIENT_LOG[$1]}" "^MARK $2" "$3" "${CLIENT_PID[$1]}" && return
    client_trouble "$1" "client $1 did not come to \"$2\" within $3 s"
}

client_wait() {
    local name=$1
    wait_gone "${CLIENT_PID[$name]}" "$2" || { client_trouble "$name" "client $name was not done within $2 s"; return 1; }
    [[ $REPLY == 0 ]] || { client_trouble "$name" "the QEMU of client $name ended with status $REPLY"; return 1; }
    client_says "$name" '^RESULT pass' >/dev/null || client_trouble "$name" "client $name did not succeed"
}

client_kill() {
    kill -KILL "${CLIENT_PID[$1]}"
    wait_gone "${CLIENT_PID[$1]}" 5
}

# client_says NAME PATTERN: the client's console has a line that matches; it is printed without its carriage return.
client_says() { tr -d '\r' <"${CLIENT_LOG[$1]}" | grep -aE -- "$2"; }

client_trouble() {
    warn "$2"
    client_says "$1" '^RESULT fail' >&2 || {
        warn "the end of its console (${CLIENT_LOG[$1]}):"
        tail -n 15 "${CLIENT_LOG[$1]}" | tr -d '\r' | sed 's/^/    /' >&2
    }
    return 1
}

# ---- what host and client see -------------------------------------------------------------------------------------

# sum_of_image DISK [START SIZE]: the SHA-256 of what is in an image, or of a slice of it in sectors.
sum_of_image() {
    local image
    image=$(image_of "$1")
    if [[ ${DISK_FORMAT[$1]} != raw ]]; then
        qemu-img convert -O raw "$image" "$image.raw"
        image=$image.raw
    fi
    if [[ -n ${2:-} ]]; then
        dd if="$image" bs=512 skip="$2" count="$3" iflag=fullblock status=none | sha256sum | cut -d' ' -f1
    else
        sha256sum <"$image" | cut -d' ' -f1
    fi
}

# sums_agree CLIENT DEVICE DISK [START SIZE]: what the client has read from its device ("SUM vda …" on its console) is
# what the host sees in the image.
sums_agree() {
    local theirs ours
    theirs=$(client_says "$1" "^SUM $2 " | tail -n 1 | cut -d' ' -f3)
    ours=$(sum_of_image "${@:3}")
    [[ -n $theirs && $theirs == "$ours" ]] && return
    warn "client $1 read $2 as ${theirs:-nothing}, the host sees $ours in the image of ${*:3}"
    return 1
}
