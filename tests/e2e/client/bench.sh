# shellcheck shell=dash disable=SC2154 # some variables come from the kernel command line
# One number for each pattern and depth: I/O operations per second, after a short time to get going.
measure() { # NAME RW BS DEPTH
    fio --name=bench --filename=/dev/vda --direct=1 --ioengine=libaio --rw="$2" --bs="$3" --iodepth="$4" --norandommap \
        --time_based --ramp_time=1 --runtime="$seconds" --output-format=terse --terse-version=3 >/tmp/out 2>/tmp/err || {
        cat /tmp/err
        fail "fio: $1"
    }
    case $2 in
        *read) field=8 ;;
        *) field=49 ;;
    esac
    echo "IOPS $1 $4 $(cut -d';' -f$field /tmp/out)"
}
for depth in 1 32; do
    measure randread-4k randread 4k $depth
    measure randwrite-4k randwrite 4k $depth
    measure read-128k read 128k $depth
    measure write-128k write 128k $depth
done
