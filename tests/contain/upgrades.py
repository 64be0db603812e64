"""Daemon and appliance are exchanged for others, under load, and their clients do not notice; what cannot serve changes nothing."""
import os
import shutil
import signal
import threading
import time
from pathlib import Path

from contain.endings import fill, shared_disk, shared_disk_that_stops
from contain.successors import Load
from fixture import scene as fixture
from fixture.common import until
from fixture.front import OK
from fixture.hanging import FSYNC


def own_program(scene, of=fixture.PROGRAM):
    """The daemon runs, by a program in a place of its own, where it can be exchanged."""
    place = scene.directory / "bin"
    place.mkdir(exist_ok=True)
    program = place / "stellwerk"
    for file in ("stellwerk", "libstellwerk_overlay.so"):
        shutil.copy(of.parent / file, place / file)
    scene.write_config()
    scene.start_daemon([program, "up", scene.config])
    assert scene.ready()
    return program


def own_image(scene):
    """The image in a place of its own, where it can be exchanged."""
    image = scene.directory / "own.elf"
    shutil.copy(fixture.IMAGE, image)
    scene.appliance["image"] = str(image)
    return image


def replace(path, content):
    """As a package manager does it: a new file takes the old one's name."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.chmod(0o755)
    os.rename(new, path)


def upgrade(scene, *options):
    """It has to work; what is said."""
    code, said = scene.command("upgrade", *options)
    assert code == 0, said
    return said


def case_upgrade_of_the_appliance(scene):
    """the appliance is exchanged ten times under load: no connection ends, no request fails, and nothing counts as a death"""
    shared_disk(scene, ("steady", "other"), queues=2)
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    alone = load.since()
    other = scene.connect("other")
    longest, told = [], []
    for _ in range(10):
        fill(other.rings[0], 30)
        before = scene.serving()
        told.append(upgrade(scene, "--appliance").strip())
        assert scene.serving() != before
        assert all(done.status == OK for done in other.rings[0].wait(30))
        longest.append(load.since())
        other.rings[0].works(sector=1024)
    assert not steady.closed(0) and not other.closed(0)
    print(f"the longest pair of requests: {alone * 1000:.1f} ms before; with each exchange", *(f"{it * 1000:.0f}" for it in longest), "ms")
    print("\n".join(told))
    print("\n".join(line for line in scene.log().splitlines() if "appliance exchanged" in line or "appliance serves" in line))
    appliance = scene.status()["appliance"]
    assert appliance["restarts"] == 0, appliance
    load.end()
    steady.close()
    other.close()
    scene.down()


def case_upgrade_of_the_daemon(scene):
    """the program is replaced by another file, and by the first one again, and each time the daemon is exchanged under load: nothing ends,
    nothing fails; one that cannot follow changes nothing"""
    scene.disk("data", "64M")
    scene.client("steady")
    scene.gives("steady", "data")
    program = own_program(scene)
    good = program.read_bytes()
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    appliance, longest = scene.serving(), 0
    os.rename(program, program.with_name("stellwerk.before"))
    program.write_bytes(good)
    program.chmod(0o755)
    for _ in range(4):
        before = scene.daemon_pid()
        upgrade(scene, "--daemon")
        after = scene.daemon_pid()
        assert after != before and os.readlink(f"/proc/{after}/exe") == str(program), os.readlink(f"/proc/{after}/exe")
        longest = max(longest, load.since())
        assert not steady.closed(0)
        replace(program, good)
    bad = {
        b"#!/bin/sh\nexit 1\n": "it does not say why",
        b"#!/bin/sh\necho 'stellwerk: it is of version 1' >&2; exit 1\n": "it is of version 1",
        b"no program": "cannot follow",
    }
    for content, why in bad.items():
        replace(program, content)
        before = scene.daemon_pid()
        code, said = scene.command("upgrade", "--daemon")
        assert code != 0 and why in said and "cannot follow this daemon" in said, said
        load.since()
        assert scene.daemon_pid() == before
    replace(program, good)
    assert scene.serving() == appliance and scene.status()["appliance"]["restarts"] == 0
    assert "the daemon has died" not in scene.log()
    upgrade(scene)
    load.since()
    assert not steady.closed(0) and scene.serving() != appliance
    print(f"the longest pair of requests: {longest * 1000:.1f} ms")
    load.end()
    steady.close()
    scene.down()


def case_upgrade_to_what_does_not_serve(scene):
    """a new image that is none changes nothing; one that does not come up is followed by the one before"""
    image = own_image(scene)
    shared_disk(scene, ("steady",))
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    before = scene.serving()
    good = image.read_bytes()
    replace(image, b"no image")
    code, said = scene.command("upgrade", "--appliance")
    assert code != 0 and "is no ELF file" in said, said
    image.unlink()
    code, said = scene.command("upgrade", "--appliance")
    assert code != 0 and "No such file" in said, said
    assert scene.serving() == before and not [line for line in scene.log().splitlines() if "appliance exchanged" in line]
    # Whatever becomes of the file: the appliance that dies is started again.
    scene.restart_appliance()
    load.since()
    replace(image, Path(scene.broken_image("event_loop::Appliance>::try_client")).read_bytes())
    code, said = scene.command("upgrade", "--appliance", seconds=90)
    assert code != 0 and "the one before does again" in said, said
    scene.killed = None
    scene.serving()
    load.since()
    replace(image, good)
    upgrade(scene, "--appliance")
    load.since()
    assert not steady.closed(0)
    load.end()
    steady.close()
    scene.down()


def case_upgrade_while_none_serves(scene):
    """an image that is taken while QEMU does not start, and does not serve, is followed by the one before as well; a good one is kept"""
    image = own_image(scene)
    no_qemu = scene.directory / "no-qemu"
    qemu = scene.directory / "qemu"
    qemu.write_text(f"#!/bin/sh\n[ ! -e {no_qemu} ] || exit 1\nexec qemu-system-s390x \"$@\"\n")
    qemu.chmod(0o755)
    scene.appliance["qemu"] = str(qemu)
    shared_disk(scene, ("steady",))
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    good = image.read_bytes()
    bad = Path(scene.broken_image("event_loop::Appliance>::try_client")).read_bytes()
    for content, code in ((bad, 1), (good, 0)):
        no_qemu.touch()
        scene.kill_appliance()
        until("QEMU does not start", lambda: "it is started again in 400 ms" in scene.log())
        replace(image, content)
        # QEMU is not started beforehand: it would not start.
        asked = [None]
        upgrades = threading.Thread(target=lambda: asked.append(scene.command("upgrade", "--appliance", seconds=90)))
        no_qemu.unlink()
        upgrades.start()
        upgrades.join(100)
        assert asked[-1][0] == code, asked
        scene.killed = None
        scene.serving()
        load.since()
    load.end()
    steady.close()
    scene.down()


def case_appliance_dies_before_an_upgrade(scene):
    """the appliance dies while files are looked at for the next one: nothing is exchanged, and no disk is missing afterwards"""
    holder = shared_disk_that_stops(scene, ("steady",))
    steady = scene.connect("steady")
    steady.rings[0].works()
    holder.send_signal(signal.SIGSTOP)
    said = []
    asked = threading.Thread(target=lambda: said.append(scene.command("upgrade", "--appliance", seconds=60)))
    asked.start()
    until("the file is looked at", lambda: len(qemus(scene)) == 2)
    time.sleep(0.5)
    scene.kill_appliance()
    asked.join(60)
    assert said[0][0] != 0 and "nothing was exchanged" in said[0][1], said
    holder.send_signal(signal.SIGCONT)
    scene.killed = None
    scene.serving()
    steady.rings[0].works()
    steady.close()
    scene.down()


def case_appliance_crashes_in_an_upgrade(scene):
    """the appliance crashes while it stops for another one: that one serves, as after a death, and long before anything would count as a
    hang"""
    scene.appliance["hang_limit"] = "off"
    shared_disk(scene, ("steady",))
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    load.since()
    before = scene.serving()
    scene.break_function("event_loop::Appliance>::stops")
    upgrade(scene, "--appliance")
    assert scene.serving() != before
    load.since()
    assert not steady.closed(0)
    load.end()
    steady.close()
    scene.down()


def case_upgrade_while_a_disk_hangs(scene):
    """a disk does not answer, or only does not end a flush: nothing is exchanged, and all the others are served on; when the disk answers
    again it is done"""
    scene.disk("good")
    scene.client("steady")
    scene.gives("steady", "good")
    # Without the kernel's asynchronous I/O, of which QEMU finds out by a flush what it can do, while it opens the file.
    hanging = scene.hanging_disk("data", cache="writeback", aio="threads")
    scene.client("stuck")
    scene.gives("stuck", "data")
    scene.up()
    stuck, steady = scene.connect("stuck"), scene.connect("steady")
    load = Load(steady.rings[0])
    before = scene.serving()
    silent = {
        "its file system does not answer": {},
        "QEMU was held up by opening it": {"program": "qemu-system"},
        "requests of clients did not end": {"operation": FSYNC},
    }
    for why, how in silent.items():
        stuck.rings[0].works()
        hanging.hang(**how)
        code, said = scene.command("upgrade", "--appliance")
        assert code != 0 and why in said, said
        assert scene.serving() == before
        load.since()
        hanging.go_on()
        stuck.rings[0].works()
    upgrade(scene, "--appliance")
    assert scene.serving() != before
    load.since()
    stuck.rings[0].works()
    load.end()
    stuck.close()
    steady.close()
    scene.down()


def case_daemon_dies_during_an_upgrade(scene):
    """the daemon is killed at any instant of an exchange of the appliance: the next one goes on, whichever of the two QEMUs there are"""
    shared_disk(scene, ("steady",))
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    for number in range(12):
        asked = threading.Thread(target=scene.command, args=("upgrade", "--appliance"), daemon=True)
        asked.start()
        time.sleep(0.04 * number)
        scene.kill_daemon()
        asked.join(60)
        scene.killed = None
        scene.serving()
        load.since()
        assert not steady.closed(0)
    until("one QEMU is left", lambda: len(qemus(scene)) == 1)
    load.end()
    steady.close()
    scene.down()


def qemus(scene):
    """The process ids of those that belong to this run."""
    found = []
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if str(scene.run / "console.log").encode() in words:
            found.append(int(process))
    return found
