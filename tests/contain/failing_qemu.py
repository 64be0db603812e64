#!/usr/bin/env python3
"""Stands in for a QEMU whose guest, an appliance, fails as soon as it runs: it says that it has failed, and takes its time over
the crash report."""
import json
import mmap
import re
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True
from fixture.area import Area

REPORT = ["==== stellwerk 0.0.0 stopped: panic ====", "a.rs:1: no", "PSW  0704", "call chain:", *(f"at   {n}" for n in range(8)),
          "last log records:", "==== panic: disabled wait E02 ===="]
APPLIANCE, FAILED = 0x18, 4  # the part with its state of life, which is its first word


def main(arguments):
    """What QEMU's command line says."""
    if "--version" in arguments:
        print("QEMU emulator version 10.0.0")
        return 0

    def said(pattern):
        return next(found[1] for found in (re.match(pattern, word) for word in arguments) if found)

    with open("/proc/self/fd/" + said(".*,mem-path=/proc/self/fd/([0-9]+)"), "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    monitor = socket.socket(fileno=int(said("socket,id=monitor,fd=([0-9]+)")))
    for line in monitor.makefile():
        command = json.loads(line)
        monitor.sendall(json.dumps({"return": {}, "id": command["id"]}).encode() + b"\n")
        if command["execute"] == "cont":
            break
    # By now the areas have been laid over it.
    control = Area(memory, int(said("control=(0x[0-9a-f]+)"), 16))
    with open(said("file,id=console,path=(.*),append=on"), "a", encoding="ascii") as console:
        for number, line in enumerate(REPORT):
            print(line, file=console, flush=True)
            if number == 0:
                control.set_word(APPLIANCE, 0, 0, FAILED)
            time.sleep(0.1)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
