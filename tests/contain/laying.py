"""How long it takes to lay memory over a window: a figure for docs/performance.md, in the case's log."""
import array
import os
import socket
import statistics
import struct
import time

from fixture.common import PROGRAM
from fixture.window import sealed_memory

GIB = 1 << 30
OURS = 16 << 20  # of the VM's memory, what is no room for windows
TIMES = 50


def case_laying(scene):
    """memory of 256 MiB and of 4 GiB is laid over a window and taken back, time and again; the log says how long that took"""
    # From an order to its answer, in a QEMU that waits to run.
    size = OURS + 4 * GIB
    pool = sealed_memory(size)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {"LD_PRELOAD": str(PROGRAM.with_name("libstellwerk_overlay.so")),
                   "STELLWERK_OVERLAY": f"{theirs.fileno()},{pool},{OURS},{size}"}
    scene.spawn("qemu", "qemu-system-s390x", "-machine", "s390-ccw-virtio,memory-backend=pool,accel=tcg", "-object",
                f"memory-backend-file,id=pool,mem-path=/proc/self/fd/{pool},share=on,size={size}", "-m", f"{size >> 20}M", "-S",
                "-nodefaults", "-display", "none", pass_fds=(pool, theirs.fileno()), env=os.environ | environment)
    ours.settimeout(40)
    number = 0

    def order(length, file):
        nonlocal number
        number += 1
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))] if file is not None else []
        began = time.perf_counter()
        ours.sendmsg([struct.pack("=5Q", OURS, length, 0, int(file is not None), number)], rights)
        answer = ours.recv(12)
        took = time.perf_counter() - began
        assert struct.unpack("=Qi", answer) == (number, 0)
        return took * 1000

    # The first order waits until QEMU has made its VM.
    order(4096, sealed_memory(4096))
    for length in (GIB // 4, 4 * GIB):
        memory = sealed_memory(length)
        for what in ("untouched", "touched"):
            if what == "touched":
                # As much as a test may take of the machine's memory.
                os.pwrite(memory, bytes(64 << 20), 0)
            laid, taken = zip(*((order(length, memory), order(length, None)) for _ in range(TIMES)))
            print(f"{length >> 20} MiB, {what}: laid in {statistics.median(laid):.3f} ms (at most {max(laid):.3f}), "
                  f"taken back in {statistics.median(taken):.3f} ms (at most {max(taken):.3f})")
