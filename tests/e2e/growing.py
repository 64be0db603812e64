"""Disks that become longer while stock Linux clients work."""
import os

from fixture.common import until

MIB = 1 << 20


def grows(scene, disk, client, megabytes, *size):
    """`stellwerk resize`, and the client sees the new end, and writes there."""
    code, said = scene.command("resize", disk, *size)
    assert code == 0 and f"{megabytes * MIB // 512} sectors" in said, said
    print(said.strip())
    client.mark(f"{megabytes * MIB // 512} sectors", 60)


def refused(scene, words, *arguments):
    """`stellwerk resize` that comes to nothing, and why."""
    code, said = scene.command("resize", *arguments)
    assert code == 1 and words in said, said


def connections(scene):
    """How often a VM has connected, as the daemon says."""
    return scene.log().count(" connected")


def case_disk_grows(scene):
    """raw and qcow2 disks are made longer under load, by a size and by their file, also by the next daemon: no error, no reconnect"""
    raw = scene.disk("raw", "16M")
    scene.disk("cow", "16M", "qcow2")
    scene.client("first", "256M")
    scene.client("second", "256M")
    scene.gives("first", "raw", queues=2)
    scene.gives("second", "cow")
    scene.up()
    sizes = [megabytes * MIB // 512 for megabytes in (24, 32, 40)]
    first = scene.boot("first", "growing", sizes=",".join(map(str, sizes)))
    second = scene.boot("second", "growing", sizes=",".join(map(str, sizes[:2])))
    first.mark("under load")
    second.mark("under load")
    refused(scene, "shorter", "raw", "8M")
    refused(scene, "shorter", "cow", "8M")
    refused(scene, "give a size", "cow")
    refused(scene, "no disk", "nonsense", "24M")
    before = connections(scene)
    grows(scene, "raw", first, 24, "24M")
    assert raw.stat().st_size == 24 * MIB
    grows(scene, "cow", second, 24, "24M")
    # Who follows has the way to the VM.
    scene.kill_daemon()
    os.truncate(raw, 32 * MIB)
    refused(scene, "its file has", "raw", "28M")
    grows(scene, "raw", first, 32)
    grows(scene, "cow", second, 32, "32M")
    # The appliance may die of whatever it likes: it finds the disk as long as it is.
    scene.kill_appliance()
    scene.serving()
    until("the disk is there", lambda: scene.condition("disks", "raw")[0] == "online")
    grows(scene, "raw", first, 40, "40M")
    first.passes(120)
    second.passes(120)
    assert connections(scene) == before, "a VM has connected again"
    scene.down()
    scene.agrees(first, "vda", "raw")
    scene.agrees(second, "vda", "cow")

