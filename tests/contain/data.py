"""Data that was promised, and memory that is the client's: nothing changes either but what the client asked for."""
import os
import struct

from fixture.front import FLUSH, GET_ID, IOERR, OK, SECTOR, WRITE

MIB = 1 << 20


def case_windows(scene):
    """not one byte of any client's memory changes when the appliance is started again"""
    # QEMU puts what it brings along below the end of the memory or below 2 GiB, whichever comes first.
    scene.disk("data")
    for client, memory in (("first", "16M"), ("second", "128M")):
        scene.client(client, memory)
        scene.gives(client, "data", shared=True)
    scene.terminal("bare")
    scene.up()
    # In place of the firmware: each byte of it comes into the memory at every start, and an empty file is refused by QEMU 11.
    assert os.path.getsize(scene.run / "no-firmware.bin") == 1
    windows = {client: scene.window(client) for client in ("first", "second", "bare")}
    for client, window in windows.items():
        end = window.area or window.size  # behind it the appliance writes, as it is asked to
        for at in range(0, end, MIB):
            count = min(MIB, end - at)
            window.put(at, os.urandom(count))
        windows[client] = window, window.get(0, end)
    for _ in range(2):
        scene.restart_appliance()
        for client, (window, before) in windows.items():
            differ = sum(window.get(at, 4096) != before[at:at + 4096] for at in range(0, len(before), 4096))
            assert not differ, f"{differ} pages of {client}'s memory have changed"
    scene.down()


def case_window_of_gigabytes(scene):
    """the same for a window on both sides of 2 GiB: what was never touched still takes no storage"""
    scene.disk("data")
    scene.client("large", "2560M")
    scene.gives("large", "data")
    scene.up()
    window = scene.window("large")
    scene.restart_appliance()
    touched = window.touched()
    assert touched >= window.size, f"somebody has written to the client's memory at {touched:#x}"
    scene.down()


def acknowledged_and_flushed(scene, image_format):
    """Writes, kills the appliance, flushes, and reads all of it."""
    scene.disk("data", "256M", image_format)
    scene.client("a")
    scene.gives("a", "data")
    scene.up()
    disk = scene.connect("a", buffer=65536)
    ring = disk.rings[0]
    blocks = {number * 2048: os.urandom(65536) for number in range(64)}
    for sector, data in blocks.items():
        ring.write(sector, data)
    scene.kill_appliance()
    # The client goes on: it flushes, and is told that all it wrote is safe.
    assert ring.run(FLUSH).status == OK
    scene.restart_appliance()
    gone = sum(ring.read(sector, 65536) != data for sector, data in blocks.items())
    assert not gone, f"{gone} of {len(blocks)} writes that were acknowledged and flushed are not there"
    disk.close()
    scene.down()


def case_flushed_qcow(scene):
    """64 writes to a qcow2 image are acknowledged, the appliance is killed, the client flushes: all of them are there"""
    acknowledged_and_flushed(scene, "qcow2")


def case_flushed_raw(scene):
    """the same with a raw image"""
    acknowledged_and_flushed(scene, "raw")


def case_used_length(scene):
    """a request's used length says what was written into the client's memory: also of GET_ID, and of requests that fail"""
    scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")
    scene.up()
    disk = scene.connect("a")
    ring = disk.rings[0]
    end = (16 << 20) // SECTOR
    lengths = {
        "GET_ID": ring.run(GET_ID, 0, length=20),
        "a read": ring.run(0, 0, length=4096),
        "a write": ring.run(WRITE, 0, data=bytes(512)),
        "a flush": ring.run(FLUSH),
        "a read behind the end": ring.run(0, end, length=512),
        "a write behind the end": ring.run(WRITE, end, data=bytes(512)),
        "an unknown request": ring.run(77, 0),
    }
    assert lengths["GET_ID"].data.rstrip(b"\0") == b"data"
    assert lengths["a read behind the end"].status == IOERR
    written = {what: done.written for what, done in lengths.items()}
    assert written.pop("a read behind the end") in (1, 513), written
    assert written == {"GET_ID": 21, "a read": 4097, "a write": 1, "a flush": 1, "a write behind the end": 1,
                       "an unknown request": 1}
    # More room than an identifier has is not written to.
    done = ring.run(GET_ID, 0, length=512)
    assert done.written <= 21, done.written
    disk.close()
    scene.down()


def case_killed_with_requests(scene):
    """the appliance is killed seven times with writes in flight on two clients' disks: each is done, and done once for the client"""
    for client in ("a", "b"):
        scene.disk(client, "64M", "raw" if client == "a" else "qcow2")
        scene.client(client)
        scene.gives(client, client)
    scene.up()
    disks = [scene.connect(client, size=256, buffer=4096) for client in ("a", "b")]
    rings = [disk.rings[0] for disk in disks]
    wanted = [{}, {}]
    for kill in range(7):
        for ring, contents in zip(rings, wanted):
            for number in range(64):
                data = struct.pack("<QQ", kill, number) * 256
                contents[number * 8] = data
                ring.start(WRITE, number * 8, data=data)
            ring.kick()
        scene.kill_appliance()
        for ring in rings:
            assert all(done.status == OK for done in ring.wait(64))
    for ring, contents in zip(rings, wanted):
        for sector, data in contents.items():
            assert ring.read(sector, 4096) == data, f"sector {sector}"
    for disk in disks:
        disk.close()
    scene.down()
