"""Storage that does not answer: whoever is served from elsewhere does not notice, and the daemon is held up by nothing."""
import os
import time
from pathlib import Path

from fixture.common import until, waits
from fixture.front import OK, READ, WRITE

QEMU = "qemu-system-s390x"


def beside_a_hanging_one(scene):
    """A client on a good disk, and one on a disk whose file system can be told not to answer: their rings, and that file system."""
    scene.disk("good")
    scene.gives("good", "good")
    hanging = scene.hanging_disk("bad")
    scene.gives("bad", "bad")
    scene.up()
    good, bad = scene.connect("good").rings[0], scene.connect("bad").rings[0]
    good.works()
    bad.works()
    return good, bad, hanging


def in_a_read_that_hangs(scene):
    """The same, and the other client waits for the disk."""
    good, bad, hanging = beside_a_hanging_one(scene)
    hanging.hang()
    bad.start(READ, 0, length=4096)
    bad.kick()
    until("the disk is asked", lambda: hanging.asked)
    return good, bad, hanging


def looks(scene):
    """Processes of the daemon's that look at a disk's file."""
    found, daemon = [], str(scene.daemon_pid())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if words[1:2] == [b"look"] and parent == daemon:
            found.append(int(process.name))
    return found


def lives(pid):
    """Whether a process has a thread that has not ended."""
    try:
        tasks = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return False
    return set(tasks) - {"Z", "X"} != set()


def served_again(bad):
    """A client that has waited is served, and what it waited for is done."""
    assert bad.wait(1)[0].status == OK
    bad.works()


@waits
def case_file_system_hangs(scene):
    """a disk's file system hangs when the appliance starts again: the others are served, and this one when it answers"""
    good, bad, hanging = beside_a_hanging_one(scene)
    hanging.hang()
    scene.restart_appliance()
    good.works()
    reason = scene.fails("disks", "bad")
    assert "does not answer" in reason, reason
    bad.start(WRITE, 808, data=bytes(512))
    bad.kick()
    good.works()
    # Whoever asks is answered, and nothing piles up.
    code, answer = scene.command("retry", "bad")
    assert code == 1 and "does not answer" in answer, answer
    time.sleep(4)
    assert len(looks(scene)) == 1, looks(scene)
    scene.restart_appliance()
    good.works()
    hanging.go_on()
    scene.recovers("disks", "bad")
    served_again(bad)
    good.works()
    until("nobody looks any more", lambda: not looks(scene))
    scene.down()


@waits
def case_stop_while_storage_hangs(scene):
    """the same, and SIGTERM: the daemon ends in order; `check` and another `up` say what it is, and nothing of trying again"""
    good, _, hanging = beside_a_hanging_one(scene)
    hanging.hang()
    scene.restart_appliance()
    good.works()
    scene.fails("disks", "bad")
    scene.down(20)
    assert not list(scene.run.glob("*.sock"))
    code, answer = scene.command("check")
    assert code == 1 and 'disk "bad"' in answer and "does not answer" in answer and "good" not in answer, answer
    scene.log_file.write_text("")
    scene.start()
    assert not scene.ready()
    assert "does not answer" in scene.log() and "tried again" not in scene.log()
    scene.daemon = None
    hanging.go_on()
    scene.up()
    scene.down()


@waits
def case_opening_takes_long(scene):
    """QEMU takes long to open a disk, as the VM starts and while it runs: it is started without it, and the others are served"""
    good, bad, hanging = beside_a_hanging_one(scene)
    hanging.hang(QEMU, seconds=13)
    scene.restart_appliance()
    good.works()
    reason = scene.fails("disks", "bad")
    assert "held up" in reason, reason
    bad.start(WRITE, 808, data=bytes(512))
    bad.kick()
    good.works()
    # It is not tried by itself for a minute.
    pid = scene.serving()
    time.sleep(4)
    assert scene.serving() == pid
    scene.command("retry", "bad")
    scene.killed = pid
    scene.serving()
    good.works()
    assert "held up" in scene.fails("disks", "bad")
    hanging.go_on()
    code, answer = scene.command("retry", "bad")
    assert code == 0, answer
    served_again(bad)
    good.works()
    scene.down()


@waits
def case_qemu_cannot_be_killed(scene):
    """QEMU waits in the kernel for a disk and cannot be killed: the other client is served meanwhile, and SIGTERM ends the daemon"""
    good, bad, hanging = in_a_read_that_hangs(scene)
    good.works()
    pid = scene.serving()
    scene.daemon.terminate()
    status = scene.daemon.wait(100)
    assert status == 1, status
    assert "was killed and does not end" in scene.log()
    assert lives(pid), "it could be killed"
    scene.daemon = None
    hanging.go_on()
    until("QEMU is gone", lambda: not lives(pid))


@waits
def case_stop_twice_while_storage_hangs(scene):
    """the same, and a second SIGTERM: the daemon waits for the appliance no longer, and says so"""
    good, bad, hanging = in_a_read_that_hangs(scene)
    good.works()
    began = time.monotonic()
    scene.daemon.terminate()
    time.sleep(3)  # what comes within a second of the first one is the same order
    assert scene.daemon.poll() is None, "it has ended without waiting for the disk"
    scene.daemon.terminate()
    scene.daemon.wait(100)
    scene.daemon = None
    print(f"ended after {time.monotonic() - began:.1f} s")
    assert "told to stop once more: not waiting any longer" in scene.log()
    # Without it, the queue has 10 s, the appliance 20 s, and QEMU twice 5 s.
    assert time.monotonic() - began < 35
    hanging.go_on()


@waits
def case_stuck_qemu_is_waited_for(scene):
    """the same, and the appliance is killed: it is started again when QEMU has ended, and not before"""
    good, bad, hanging = in_a_read_that_hangs(scene)
    scene.kill_appliance()
    time.sleep(3)
    assert lives(scene.killed), "it could be killed"
    assert scene.log().count("appliance started") == 1, "two QEMUs may write to one memory"
    hanging.go_on()
    scene.serving()
    served_again(bad)
    good.works()
    scene.down()
