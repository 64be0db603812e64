#!/usr/bin/env python3
"""Volumes for the image's own tests, and what is on them afterwards.

    dasd.py make-linux IMAGE SERIAL CYLINDERS       a CDL volume, by dasdinit -linux
    dasd.py make-ldl IMAGE SERIAL CYLINDERS BLOCK   a volume made by dasdinit, its tracks formatted for Linux's own layout
    dasd.py make-zos IMAGE SERIAL CYLINDERS         data sets made by dasdload, VTOC between them; the other tracks formatted for Linux
    dasd.py partition IMAGE FORMAT:FIRST-LAST[,FIRST-LAST]...
                                                    data sets into the VTOC of a CDL volume: DSCBs of format 1 or 8, with extents
    dasd.py make-empty IMAGE SERIAL CYLINDERS       a volume made by dasdinit, tracks without records
    dasd.py make-fixed IMAGE SERIAL BLOCKS          a fixed-block volume, of the type that the file's name ends with
    dasd.py check IMAGE FIRST CONSOLE-LOG NUMBER    records from number FIRST on are what the test of device NUMBER wrote
    dasd.py check-fixed IMAGE SIZE LOG NUMBER       the same of blocks of SIZE bytes behind the label of a fixed-block volume
    dasd.py put IMAGE FIRST FILE                    the file into the records from number FIRST on
    dasd.py get IMAGE FIRST FILE                    the records from number FIRST on into the file
    dasd.py damage IMAGE CYLINDER HEAD KIND         count: a count field is wrong; length: a record is longer than its track;
                                                    erase: there are no records
    dasd.py formatted IMAGE LAYOUT BLOCK SERIAL     all records, count fields included, are those of such a volume of others:
                                                    cdl with 4096 bytes of dasdinit -linux, else as dasdfmt of Linux makes it

Images are uncompressed: 512 bytes of header, then tracks: home address of 5 bytes, records of count field (cylinder, head,
record, key length, data length), key and data, and eight bytes X'FF'.
"""
import struct
import subprocess
import sys
from pathlib import Path

HEADER = 512
END = b"\xff" * 8
MAGIC = 0x4441534474657374
MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15
# What is before the data of a fixed-block volume.
FIXED_DATA = 2 * 512
# Records of a 3390 track.
RECORDS = {4096: 12, 2048: 21, 1024: 33, 512: 49}


class Image:
    def __init__(self, path):
        self.file = open(path, "r+b")
        header = self.file.read(HEADER)
        if header[:8] != b"CKD_P370":
            raise SystemExit(f"{path}: not an uncompressed volume")
        self.heads, self.track_size = struct.unpack_from("<II", header, 8)
        self.file.seek(0, 2)
        self.tracks = (self.file.tell() - HEADER) // self.track_size

    def track(self, number):
        self.file.seek(HEADER + number * self.track_size)
        return self.file.read(self.track_size)

    def write(self, number, track):
        self.file.seek(HEADER + number * self.track_size)
        self.file.write(track.ljust(self.track_size, b"\0"))

    def records(self, number):
        """Offset, record number, key length and data of each record."""
        track = self.track(number)
        offset = 5
        while track[offset : offset + 8] != END:
            record, key, data = struct.unpack_from(">BBH", track, offset + 4)
            start = offset + 8 + key
            yield offset, record, key, track[start : start + data]
            offset = start + data

    def change(self, number, wanted, front):
        """The front of key and data of a record."""
        track = bytearray(self.track(number))
        for offset, record, _, _ in self.records(number):
            if record == wanted:
                track[offset + 8 : offset + 8 + len(front)] = front
        self.write(number, bytes(track))

    def blocks(self):
        for number in range(self.tracks):
            for _, record, _, data in self.records(number):
                if record > 0:
                    yield data


def dasdinit(path, serial, cylinders, *options):
    Path(path).unlink(missing_ok=True)
    command = ["dasdinit", *options, path, "3390", serial, cylinders]
    subprocess.run(command, check=True, capture_output=True)


def formatted(image, number, block):
    """A track of blocks, as dasdfmt makes it."""
    where = struct.pack(">HH", number // image.heads, number % image.heads)
    track = b"\0" + where + where + struct.pack(">BBH", 0, 0, 8) + bytes(8)
    records = [where + struct.pack(">BBH", record, 0, block) for record in range(1, RECORDS[block] + 1)]
    return track + b"".join(record + bytes(block) for record in records) + END


def make_ldl(path, serial, cylinders, block):
    dasdinit(path, serial, cylinders)
    image = Image(path)
    for number in range(image.tracks):
        image.write(number, formatted(image, number, int(block)))
    image.change(0, 3, ("LNX1" + serial.ljust(6)).encode("cp037"))


def make_zos(path, serial, cylinders):
    Path(path).unlink(missing_ok=True)
    sets = ["ONE.DATA EMPTY TRK 10 {}", "SYSVTOC VTOC TRK 2", "TWO.DATA EMPTY TRK 20 {}", "THREE.DATA EMPTY CYL 1 {}"]
    lines = [f"{serial} 3390-1 {cylinders}", *sets]
    control = Path(path).with_suffix(".ctl")
    control.write_text("\n".join(lines).format(*["0 0 PS F 4096 4096 0"] * 3) + "\n")
    subprocess.run(["dasdload", control, path], check=True, capture_output=True)
    control.unlink()
    image = Image(path)
    for number in range(1, image.tracks):
        keys = [key for _, record, key, _ in image.records(number) if record > 0]
        if not any(keys):
            image.write(number, formatted(image, number, 4096))


def extent(image, sequence, first, last):
    ends = [part for track in (first, last) for part in divmod(track, image.heads)]
    return struct.pack(">BBHHHH", 1, sequence, *ends)


def partition(path, *sets):
    image = Image(path)
    record = 3
    for number, text in enumerate(sets, 1):
        kind, pieces = text.split(":")
        pieces = [[int(track) for track in piece.split("-")] for piece in pieces.split(",")]
        extents = b"".join(extent(image, sequence, *piece) for sequence, piece in enumerate(pieces))
        dscb = f"LINUX.VLINUX1.PART{number:04}.NATIVE".ljust(44).encode("cp037")
        dscb += bytes([0xF0 + int(kind)]) + "LINUX1".encode("cp037") + b"\0\1"
        dscb = dscb.ljust(59, b"\0") + bytes([len(pieces)])
        dscb = dscb.ljust(105, b"\0") + extents
        image.change(1, record, dscb.ljust(140, b"\0"))
        record += 1
        if kind == "8":
            image.change(1, record, b"\x09\1\1".ljust(44, b"\0") + b"\xf9")
            record += 1


def block_of(number, written, length):
    state = (number << 32 | written) * STEP & MASK
    words = [state + count * STEP & MASK for count in range(1, length // 8 - 2)]
    return struct.pack(f">{length // 8}Q", MAGIC, number, written, *words)


def make_fixed(path, serial, blocks):
    Path(path).unlink(missing_ok=True)
    subprocess.run(["dasdinit", path, Path(path).suffix[1:], serial, blocks], check=True, capture_output=True)


def check_fixed(path, size, log, device):
    content, size = Path(path).read_bytes()[FIXED_DATA:], int(size)
    blocks = [content[at : at + size] for at in range(0, len(content) - size + 1, size)]
    compare(path, blocks, log, device)


def check(path, first, log, device):
    compare(path, list(Image(path).blocks())[int(first) :], log, device)


def compare(path, blocks, log, device):
    digest = 0xCBF29CE484222325
    changed = number = 0
    for number, data in enumerate(blocks):
        written = 0
        if any(data):
            magic, name, written = struct.unpack_from(">QQQ", data)
            if magic != MAGIC or name != number or data != block_of(number, written, len(data)):
                raise SystemExit(f"{path}: block {number} is not what was written")
            changed += 1
        for byte in struct.pack(">I", written):
            digest = (digest ^ byte) * 0x100000001B3 & MASK
    line = f"dasd: {device} wrote {digest:016x}"
    if line not in Path(log).read_text(encoding="latin-1").splitlines():
        raise SystemExit(f"{path}: blocks are missing: nothing says {line}")
    print(f"{path}: {number + 1} blocks, {changed} of them written, are as the guest says")


def put(path, first, file):
    image, content = Image(path), Path(file).read_bytes()
    number = at = 0
    for track in range(image.tracks):
        changed = bytearray(image.track(track))
        for offset, record, key, data in list(image.records(track)):
            if record > 0 and number >= int(first):
                start = offset + 8 + key
                piece = content[at : at + len(data)]
                changed[start : start + len(piece)] = piece
                at += len(data)
            number += record > 0
        image.write(track, bytes(changed))
    if at != len(content):
        raise SystemExit(f"{path}: {file} has {len(content)} bytes, not {at}")


def get(path, first, file):
    Path(file).write_bytes(b"".join(list(Image(path).blocks())[int(first) :]))


def damage(path, cylinder, head, kind):
    image = Image(path)
    number = int(cylinder) * image.heads + int(head)
    track = bytearray(image.track(number))
    offset = list(image.records(number))[4][0]
    if kind == "erase":
        first = list(image.records(number))[1][0]
        track[first:] = END
    elif kind == "count":
        track[offset : offset + 5] = b"\xde\xad\xbe\xef\x77"
    else:
        track[offset + 6 : offset + 8] = b"\xff\xf0"
    image.write(number, bytes(track))


# What dasdfmt of s390-tools writes otherwise than dasdinit -linux: track, record, offset in key and data, theirs, ours.
OTHERWISE = [
    (0, 1, 4 + 1, b"\x06", b"\x0a"),  # the IPL PSW is one of the extended-control mode
    (0, 3, 4 + 41, "HERCULES".encode("cp037"), b"\x40" * 8),  # no owner in the label
    (1, 1, 44 + 88, bytes(4), None),  # DS4DCYL: cylinders once more, in four bytes
    (1, 1, 44 + 94, b"\0", b"\x40"),  # DS4DEVF2: there may be format-8 and format-9 DSCBs
]


def content_of(image, number):
    """Count field, key and data of each record of a track, R0 included."""
    track = image.track(number)
    return [track[:5]] + [
        (track[offset : offset + 8], track[offset + 8 : offset + 8 + key] + data)
        for offset, _, key, data in image.records(number)
    ]


def made_by_dasdinit(image, path, serial):
    """The records of a volume made by dasdinit -linux, with what is OTHERWISE put into them."""
    other = f"{path}.reference"
    cylinders = image.tracks // image.heads
    dasdinit(other, serial, str(cylinders), "-linux")
    other = Image(other)
    for number in range(other.tracks):
        records = content_of(other, number)
        for track, record, offset, theirs, ours in OTHERWISE:
            if track == number:
                count, content = records[1 + record]
                end = offset + len(theirs)
                assert content[offset:end] == theirs, (track, record, content.hex())
                ours = ours or struct.pack(">I", cylinders)
                records[1 + record] = (count, content[:offset] + ours + content[end:])
        yield records


def made_by_dasdfmt(image, layout, block, serial):
    """The same of other formats: the specials are those of dasdfmt, the rest is blocks of zeros."""
    name = serial.ljust(6).encode("cp037")
    psw = bytes.fromhex("000a00000000000f0300000000000001")
    blank = b"\x40"
    special = {}
    if layout == "cdl":
        special[0, 1] = (4, 24, "IPL1".encode("cp037") + psw)
        special[0, 2] = (4, 144, "IPL2".encode("cp037"))
        label = "VOL1VOL1".encode("cp037") + name + blank + b"\0\0\0\1\1" + blank * 64
        special[0, 3] = (4, 80, label)
        records, tracks = RECORDS[block], image.tracks
        four = struct.pack(
            ">44sB5xH6xxB2xHHH3xB2xB20xxx", b"\4" * 44, 0xF4, records - 2, 1, tracks // 15, 15, 0xE5A2, 0x30, records
        )
        four = four.ljust(105, b"\0") + b"\1\0\0\0\0\1\0\0\0\1"
        special[1, 1] = four.ljust(132, b"\0") + struct.pack(">I2xBx", tracks // 15, 0x40)
        free = tracks - 2
        special[1, 2] = b"\5" * 4 + struct.pack(">HHB", 2, free // 15, free % 15).ljust(40, b"\0") + b"\xf5"
        for record in range(1, records + 1):
            special[1, record] = (44, 96, special.get((1, record), b""))
    else:
        blocks = image.tracks * RECORDS[block]
        special[0, 1] = (0, block, psw)
        label = "LNX1".encode("cp037") + name + blank * 69 + b"\xf2" + struct.pack(">Q", blocks)
        special[0, 3] = (0, block, label)
    for number in range(image.tracks):
        where = struct.pack(">HH", number // image.heads, number % image.heads)
        records = [b"\0" + where, (where + b"\0\0\0\x08", bytes(8))]
        for record in range(1, RECORDS[block] + 1):
            key, data, content = special.get((number, record), (0, block, b""))
            count = where + struct.pack(">BBH", record, key, data)
            records.append((count, content.ljust(key + data, b"\0")))
        yield records


def check_format(path, layout, block, serial):
    image = Image(path)
    block = int(block)
    if (layout, block) == ("cdl", 4096):
        reference, of = made_by_dasdinit(image, path, serial), "dasdinit -linux"
    else:
        reference, of = made_by_dasdfmt(image, layout, block, serial), "dasdfmt"
    count = 0
    for number, wanted in enumerate(reference):
        found = content_of(image, number)
        for record, (one, other) in enumerate(zip(found[1:], wanted[1:])):
            if one != other:
                for what, (fields, content) in (("is", one), ("not", other)):
                    print(f"track {number} record {record} {what} {fields.hex()} {content.rstrip(bytes(1)).hex()}")
        if found != wanted:
            raise SystemExit(f"{path}: track {number} has not the records that it should have")
        count += len(found) - 1
    if number + 1 != image.tracks:
        raise SystemExit(f"{path}: {image.tracks} tracks, and there are {number + 1}")
    print(f"{path}: {count} records of {image.tracks} tracks are as {of} makes them")


def loaded(image, end):
    """The sum of an image as a client's storage up to an address has it, behind its PSW: as the self-test proxy-ipl prints it."""
    with open(image, "rb") as file:
        content = file.read().ljust(int(end, 0) - 0x10000, bytes(1))
    total, mask = 0, (1 << 64) - 1
    for (word,) in struct.iter_unpack(">Q", content):
        total = ((total << 1 | total >> 63) & mask) ^ word
    print(f"{total:016x}")


COMMANDS = {
    "make-linux": lambda path, serial, cylinders: dasdinit(path, serial, cylinders, "-linux"),
    "make-ldl": make_ldl,
    "make-zos": make_zos,
    "partition": partition,
    "make-empty": dasdinit,
    "check": check,
    "make-fixed": make_fixed,
    "check-fixed": check_fixed,
    "put": put,
    "get": get,
    "damage": damage,
    "formatted": check_format,
    "loaded": loaded,
}
COMMANDS[sys.argv[1]](*sys.argv[2:])
