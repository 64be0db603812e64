"""What a stock Linux finds on its disks, and the host in their images."""
import hashlib
import os

MIB = 1 << 20


def case_verify(scene):
    """what a client writes, in every block size from 512 B to 1 MiB, at depth 64 and over four queues, it reads back, and the host sees it"""
    scene.disk("data", "48M")
    scene.client("linux", "256M")
    scene.gives("linux", "data", queues=4)
    scene.up()
    linux = scene.boot("linux", "verify", processors=4, queues=4)
    linux.passes(180)
    scene.agrees(linux, "vda", "data")
    scene.down()
    scene.agrees(linux, "vda", "data")


def case_properties(scene):
    """the disk says what it is (size, blocks, queues, name, discard), and its write cache can be turned off and on"""
    scene.disk("data", "20M")
    scene.client("linux", "128M")
    scene.gives("linux", "data", queues=4)
    scene.up()
    # qemu-storage-daemon begins with the write cache off.
    cache = "off" if scene.backend == "qsd" else "on"
    linux = scene.boot("linux", "properties", processors=4, sectors=40960, queues=4, cache=cache)
    linux.passes(60)
    scene.down()
    scene.agrees(linux, "vda", "data")


def case_read_only(scene):
    """a read-only disk can be read, cannot be written, and does not change"""
    scene.disk("data", "16M").write_bytes(os.urandom(16 * MIB))
    scene.client("linux", "128M")
    scene.gives("linux", "data", readonly=True)
    before = scene.sum_of("data")
    scene.up()
    linux = scene.boot("linux", "read-only")
    linux.passes(60)
    scene.down()
    scene.agrees(linux, "vda", "data")
    assert scene.sum_of("data") == before, "the image has changed"


def case_discard(scene):
    """discard gives the blocks back and write-zeroes writes zeroes, each to its own range only, alone and among other requests"""
    image = scene.disk("data", "32M")
    image.write_bytes(os.urandom(32 * MIB))
    scene.client("linux", "256M")
    scene.gives("linux", "data")
    edge_before = scene.sum_of("data", 0, 8192)
    scene.up()
    linux = scene.boot("linux", "discard")
    linux.passes(120)
    scene.down()
    scene.agrees(linux, "vda", "data")
    assert scene.sum_of("data", 0, 8192) == edge_before, "the first 4 MiB, which nothing was done to, have changed"
    assert scene.sum_of("data", 8192, 8192) == hashlib.sha256(bytes(4 * MIB)).hexdigest(), "4 MiB of zeroes are none"
    # 8 MiB were discarded at once and 8 MiB block by block; write-zeroes may have freed its range or not.
    allocated = image.stat().st_blocks * 512
    assert allocated <= 17 * MIB, f"discarding freed nothing: {allocated} bytes are still allocated"


def case_several_disks(scene):
    """a client with several disks, one of them a qcow2 image, finds each where it belongs, and writes to all of them at once stay apart"""
    scene.disk("one", "8M")
    scene.disk("two", "12M", "qcow2")
    scene.disk("three", "16M")
    scene.client("linux", "128M")
    scene.gives("linux", "one")
    scene.gives("linux", "two", queues=2)
    scene.gives("linux", "three", start=2048, size=16384)
    scene.up()
    linux = scene.boot("linux", "several-disks")
    linux.passes(120)
    scene.down()
    scene.agrees(linux, "vda", "one")
    scene.agrees(linux, "vdb", "two")
    scene.agrees(linux, "vdc", "three", 2048, 16384)


def case_slices(scene):
    """two clients at once, on slices of one disk: each reads what it wrote, none reaches past its slice, and what lies between stays as it was"""
    # 16 MiB each, with 1 MiB before, between and after that belongs to nobody.
    scene.disk("data", "35M").write_bytes(os.urandom(35 * MIB))
    scene.client("first", "256M")
    scene.client("second", "256M")
    scene.gives("first", "data", start=2048, size=32768)
    scene.gives("second", "data", start=36864, size=32768)

    def gaps():
        return [scene.sum_of("data", start, 2048) for start in (0, 34816, 69632)]

    before = gaps()
    scene.up()
    first = scene.boot("first", "slice", sectors=32768)
    second = scene.boot("second", "slice", sectors=32768)
    first.passes(120)
    second.passes(120)
    scene.down()
    scene.agrees(first, "vda", "data", 2048, 32768)
    scene.agrees(second, "vda", "data", 36864, 32768)
    assert gaps() == before, "what lies between the slices has changed"
