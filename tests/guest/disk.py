#!/usr/bin/env python3
"""The disk of the image's own disk test: what is on it before, and what has to be on it after.

    disk.py make FILE           each eight bytes are their own offset, big-endian, exclusive-or MADE
    disk.py check FILE LOG      that is still so, but for the changes that the image has announced in LOG:
                                "disk: wrote SECTOR COUNT", "disk: zeroed ...", "disk: discarded ..."

The constants are those of tests/image/src/selftest/disk.rs.
"""
import re
import struct
import sys

SECTOR = 512
SECTORS = 8192 + 3  # Not a whole number of blocks.
MADE = 0x5354454C4C57524B
WRITTEN = 0x7772697474656E21


def pattern(sector, key):
    start = sector * SECTOR
    words = range(start, start + SECTOR, 8)
    return struct.pack(f">{len(words)}Q", *(word ^ key for word in words))


def make(path):
    with open(path, "wb") as disk:
        for sector in range(SECTORS):
            disk.write(pattern(sector, MADE))


def changes(log):
    """What has to be in which sector; None where anything may be."""
    wanted = {}
    for kind, first, count in re.findall(r"^disk: (wrote|zeroed|discarded) (\d+) (\d+)", log, re.MULTILINE):
        for sector in range(int(first), int(first) + int(count)):
            if kind == "wrote":
                wanted[sector] = pattern(sector, WRITTEN)
            elif kind == "zeroed":
                wanted[sector] = bytes(SECTOR)
            else:
                wanted[sector] = None
    return wanted


def check(path, log):
    with open(log, encoding="latin-1") as file:
        wanted = changes(file.read())
    with open(path, "rb") as disk:
        data = disk.read()
    if len(data) != SECTORS * SECTOR:
        sys.exit(f"{path} has {len(data)} bytes")
    for sector in range(SECTORS):
        want = wanted.get(sector, pattern(sector, MADE))
        if want is not None and data[sector * SECTOR : (sector + 1) * SECTOR] != want:
            sys.exit(f"{path}: sector {sector} is not what it should be")
    print(f"{path}: {len(wanted)} sectors changed as announced, {SECTORS - len(wanted)} as before")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"make": make, "check": check}[command](*arguments)
