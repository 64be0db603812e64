"""Clients' memory: what is laid over a window, what is refused, what comes and goes while requests are in flight."""
import fcntl
import mmap
import os
from pathlib import Path
import tempfile

from fixture.common import until
from fixture.window import ADD_SEALS, SHRINK, sealed_memory
from fixture.front import IOERR, OK, READ, SECTOR, WRITE, Disk, Refused

MIB = 1 << 20
HIGH = 32 * MIB  # where memory is plugged in


def one_client(scene, memory="64M"):
    """A client with a disk, served."""
    scene.disk("data")
    scene.client("a", memory)
    scene.gives("a", "data")
    scene.up()


def case_memory_comes_and_goes(scene):
    """memory is plugged into a VM and taken out while requests are in flight: they end, and no later one reaches it, also after a restart"""
    one_client(scene)
    window = scene.window("a", size=16 * MIB)
    disk = scene.connect("a", window=window)
    ring = disk.rings[0]
    ring.works()
    low = ring.data
    for _ in range(20):
        more = window.plug(HIGH, MIB)
        disk.plug(more)
        ring.data = HIGH
        heads = [ring.start(WRITE, 8 * n, data=bytes([n + 1]) * 4096) for n in range(30)]
        ring.kick()
        # What is in flight has ended when this is answered.
        disk.unplug(more)
        ended = ring.wait(len(heads), 10)
        assert all(done.status in (OK, IOERR) for done in ended), ended
        # It is another VM's now, for all that anybody knows.
        more.memory[:] = b"\xa5" * more.size
        # Its buffer is nowhere; status and header are where they were.
        head = ring.start(READ, 0, length=4096)
        ring.kick()
        (late,) = ring.wait(1)
        assert (late.head, late.status) == (head, IOERR), late
        assert more.memory[:] == b"\xa5" * more.size, "memory that was taken out was written to"
        window.unplug(more)
        ring.data = low
        ring.works()
    # What is there when the appliance dies is there in its next life.
    more = window.plug(HIGH, MIB)
    disk.plug(more)
    scene.restart_appliance()
    ring.data = HIGH
    ring.works()
    again = window.plug(HIGH + 4 * MIB, MIB)
    disk.plug(again)
    ring.data = HIGH + 4 * MIB
    ring.works()
    # Where memory is taken out between two pieces there is memory of the client's own, and none of what was taken out.
    disk.unplug(more)
    more.memory[:] = b"\xa5" * more.size
    for life in range(2):
        ring.data = HIGH
        ring.start(READ, 0, length=4096)
        ring.kick()
        ring.wait(1)
        assert more.memory[:] == b"\xa5" * more.size, f"memory that was taken out was written to in life {life}"
        ring.data = HIGH + 4 * MIB
        ring.works()
        scene.restart_appliance()
    scene.down()


def case_memory_refused(scene):
    """memory that can shrink, or is more than the window, or too many pieces, is refused in words, and the next VM is served"""
    one_client(scene)

    def refused(window, words):
        try:
            Disk(window).negotiate()
            raise AssertionError(f"it is not refused: {words}")
        except Refused:
            until(f"the status says {words!r}", lambda: words in (scene.status()["clients"][0]["disks"][0].get("refused") or ""))

    window = scene.window("a")
    shrinking = os.memfd_create("shrinking", os.MFD_CLOEXEC)
    os.ftruncate(shrinking, window.size)
    good, window.fd = window.fd, shrinking
    refused(window, "no file that cannot shrink")
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(window.size)
        window.fd = file.fileno()
        refused(window, "<source type='memfd'/>")
    # A file that has less than is said of it, and one whose seals its owner may add to.
    short = window.fd = sealed_memory(4096)
    refused(window, "shorter than")
    growing = window.fd = os.memfd_create("growing", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(growing, window.size)
    fcntl.fcntl(growing, ADD_SEALS, SHRINK)
    refused(window, "no file that cannot shrink")
    os.close(short)
    # One that shrinks all the same is nobody's trouble: it was never laid.
    os.ftruncate(shrinking, 0)
    window.fd = good
    larger = scene.window("a", new=True, size=80 * MIB)
    refused(larger, "than its window of 64 MiB")
    disk = scene.connect("a", window=scene.window("a", new=True, size=8 * MIB))
    for number in range(31):
        disk.plug(disk.window.plug(HIGH + number * 65536, 4096))
    try:
        disk.plug(disk.window.plug(HIGH + 4 * MIB, MIB))
        raise AssertionError("33 pieces are not refused")
    except Refused:
        pass
    disk.rings[0].works()
    scene.down()


def case_two_disks_one_memory(scene):
    """a client's disks share its memory: it stays laid until the last of them has gone, and another VM waits for that"""
    scene.disk("one")
    scene.disk("two")
    scene.client("a")
    scene.gives("a", "one")
    scene.gives("a", "two")
    scene.up()
    window = scene.window("a")
    first = scene.connect("a", 0, window)
    second = scene.connect("a", 1, window)
    second.rings[0].works()
    first.close()
    second.rings[0].works()
    scene.restart_appliance()
    second.rings[0].works()
    # Another VM has the first socket, and finds the second one's memory in the way.
    other = scene.window("a", new=True)
    try:
        Disk(other, 0).negotiate()
        raise AssertionError("two VMs are served as one client")
    except Refused:
        pass
    second.rings[0].works()
    second.close()
    scene.connect("a", 0, other).rings[0].works()
    scene.down()


def case_who_has_the_pool(scene):
    """nothing of the pool has a name that others could open, and no process but the daemon, its keeper and the appliance's QEMU has it"""
    scene.terminal("bare")
    one_client(scene)
    scene.connect("a").rings[0].works()
    status = scene.status()
    assert not [name for name in os.listdir("/dev/shm") if "stellwerk" in name]
    pool = os.stat(status["daemon"]["pool"])
    owners = set()
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            files = [os.stat(f"/proc/{process}/fd/{fd}") for fd in os.listdir(f"/proc/{process}/fd")]
            maps = Path(f"/proc/{process}/maps").read_text().splitlines()
        except OSError:
            continue
        has_mapped = any(f" {pool.st_ino} " in line and "stellwerk-pool" in line for line in maps)
        if has_mapped or any((file.st_dev, file.st_ino) == (pool.st_dev, pool.st_ino) for file in files):
            owners.add(int(process))
    assert owners == {status["daemon"]["pid"], scene.keeper_pid(), status["appliance"]["pid"]}, owners
    # A channel-level client's memory cannot be cut off under whoever uses it.
    memory = os.open(scene.run / "bare.memory", os.O_RDWR)
    for size in (0, 1 << 30):
        try:
            os.ftruncate(memory, size)
            raise AssertionError("the memory of a channel-level client can change its size")
        except PermissionError:
            pass
    assert mmap.mmap(memory, SECTOR)[:1] == b"\0"
    scene.down()
