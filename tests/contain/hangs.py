"""An appliance, or its QEMU, that does not go on: it is found, dumped and replaced; and what is no hang is left alone."""
import os
import re
import signal
import time

from contain.storage import in_a_read_that_hangs, served_again
from fixture.common import spins, until, waits
from fixture.front import OK, WRITE

SUBMIT = "driver::virtio_blk::VirtioBlk as appliance::driver::block::BlockDevice>::submit"
# How much longer than the limit a request may take before the case fails. It is not what is promised: other people use this machine.
GENEROUS = 30


def one_disk(scene, **keys):
    """A client on a disk, and its window."""
    scene.appliance |= keys
    scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")
    scene.up()
    return scene.connect("a").rings[0]


def timed(ring, limit):
    """A request that waits until somebody serves again ends well; how long it took."""
    began = time.monotonic()
    ring.start(WRITE, 64, data=b"waits".ljust(512))
    ring.kick()
    assert ring.wait(1, limit + GENEROUS)[0].status == OK
    return time.monotonic() - began


def dumps(scene):
    """The texts of all dumps, oldest first, each with the memory beside it."""
    texts = sorted(scene.run.glob("dump-*.txt"))
    return [(text.read_text(), text.with_suffix(".memory")) for text in texts]


def loops(scene, ring):
    """The appliance goes round for ever in what a request has it do, in a life in which nobody has asked for anything yet."""
    scene.restart_appliance()
    pid = scene.serving()
    scene.break_function(SUBMIT, endless=True)
    took = timed(ring, 5)
    scene.killed = pid
    scene.serving()
    return took


@waits
def case_stopped_qemu(scene):
    """the appliance's QEMU is stopped: a client's request ends well after the limit, and there is a dump without the client's memory"""
    ring = one_disk(scene)
    ring.window.put(0x2000000, b"a secret of the client's" * 8)
    ring.works()
    pid = scene.serving()
    os.kill(pid, signal.SIGSTOP)
    print(f"gone on after {timed(ring, 5):.2f} s")
    ring.works()
    log = scene.log()
    assert "the appliance's QEMU hangs: its monitor does not answer" in log, log
    ((text, memory),) = dumps(scene)
    assert f"process {pid}\n" in text and "registers: QEMU does not answer" in text, text
    content = memory.read_bytes()
    assert b"stellwerk 0." in content, "the image is not in its memory"
    assert b"a secret of the client's" not in content
    assert memory.stat().st_mode & 0o777 == 0o600
    scene.down()


@spins
def case_looping_appliance(scene):
    """the appliance goes round for ever: the same, with its registers and with a report of where it is; twice for one client, who waits"""
    ring = one_disk(scene)
    ring.works()
    print(f"gone on after {loops(scene, ring):.2f} s")
    log = scene.log()
    assert "the appliance hangs: its event loop does not come round any more" in log, log
    assert re.search(r"==== stellwerk \S+ stopped: hang ====\n +the event loop has not come round for [4-9]", log), log
    assert re.search(r"  at +[0-9a-f]{16} .*VirtioBlk.*submit", log), log
    ((text, _),) = dumps(scene)
    assert re.search("^registers:\n.*PSW=", text, re.M | re.S), text
    ring.works()
    # It has found by itself that it cannot go on: what it does that for is known.
    scene.restart_appliance()
    pid = scene.serving()
    scene.break_function(SUBMIT, endless=True)
    ring.start(WRITE, 64, data=b"deadly".ljust(512))
    ring.kick()
    until("it has died of it", lambda: scene.status()["appliance"]["pid"] != pid, 5 + GENEROUS)
    assert "has died 2 times" in scene.fails("exports", "a")
    code, answer = scene.command("retry", "a")
    assert code == 0, answer
    assert ring.wait(1)[0].status == OK
    scene.down()


@spins
def case_looping_without_daemon(scene):
    """the same while the daemon is stopped: the machine's own watchdog ends it, and the client goes on when the daemon does"""
    ring = one_disk(scene)
    ring.works()
    scene.restart_appliance()
    pid = scene.serving()
    scene.break_function(SUBMIT, endless=True)
    ring.start(WRITE, 64, data=b"waits".ljust(512))
    ring.kick()
    time.sleep(1)  # the daemon passes the kick on
    daemon = scene.daemon_pid()
    os.kill(daemon, signal.SIGSTOP)
    try:
        console = scene.run / "console.log"
        until("its own watchdog has ended it", lambda: "hang: disabled wait E07" in console.read_text(errors="replace"), 60, pause=0.2)
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert ring.wait(1)[0].status == OK
    assert scene.status()["appliance"]["pid"] != pid
    ring.works()
    assert not dumps(scene), "nobody has looked"
    scene.down()


@waits
def case_dumps_are_kept_in_bounds(scene):
    """an appliance that hangs again and again: the last three dumps are kept"""
    ring = one_disk(scene, hang_limit="2s")
    for _ in range(5):
        os.kill(scene.serving(), signal.SIGSTOP)
        timed(ring, 2)
    assert len(dumps(scene)) == 3, os.listdir(scene.run)
    assert scene.log().count("it was dumped to") == 5
    scene.down()


@waits
def case_no_room_for_a_dump(scene):
    """the run directory is full: a hang is dealt with all the same, and half a dump is not left"""
    place = scene.small_file_system("small", "128K")
    scene.run = place / "run"
    scene.run.mkdir(mode=0o700)
    ring = one_disk(scene, hang_limit="2s", run_dir=str(scene.run))
    ring.works()
    os.kill(scene.serving(), signal.SIGSTOP)
    print(f"gone on after {timed(ring, 2):.2f} s")
    ring.works()
    assert re.search("it could not be dumped: .*No space left", scene.log()), scene.log()
    assert not list(scene.run.glob("dump-*"))
    scene.down()


@waits
def case_no_hang(scene):
    """an appliance that has nothing to do, one whose disk does not answer, and one whose daemon was away are left alone"""
    scene.appliance["hang_limit"] = "2s"
    good, bad, hanging = in_a_read_that_hangs(scene)
    pid, daemon = scene.serving(), scene.daemon_pid()
    time.sleep(5)
    good.works()
    # The daemon alone; then all together, as in a container that is paused, for longer than the machine's own watchdog waits.
    for stopped, seconds in (((daemon,), 5), ((daemon, pid), 23)):
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        time.sleep(seconds)
        for process in stopped:
            os.kill(process, signal.SIGCONT)
        time.sleep(3)
        good.works()
    assert "own watchdog has fired" in scene.log(), scene.log()
    hanging.go_on()
    served_again(bad)
    assert scene.serving() == pid and not dumps(scene), scene.log()
    assert not re.search("(appliance|QEMU) hangs", scene.log()), scene.log()
    scene.down()


@waits
def case_hang_limit_off(scene):
    """nobody looks when that is wanted"""
    ring = one_disk(scene, hang_limit="off")
    pid = scene.serving()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(8)
    os.kill(pid, signal.SIGCONT)
    ring.works()
    assert scene.serving() == pid and not dumps(scene)
    scene.down()


@spins
def case_hang_at_start(scene):
    """an appliance that goes round for ever before it serves is ended, and `up` says where it was"""
    scene.disk("data")
    scene.gives("a", "data")
    scene.appliance["image"] = str(scene.broken_image("event_loop::Appliance>::try_client"))
    scene.start()
    assert not scene.ready()
    scene.daemon = None
    log = scene.log()
    assert "the appliance does not serve after 30 s: QEMU ended (exit status: 1)" in log, log
    assert re.search(r"stopped: hang ====(?s:.*)at +[0-9a-f]{16} .*Appliance.*try_client", log), log
    assert len(dumps(scene)) == 1


@waits
def case_hang_at_a_succession(scene):
    """the daemon is killed while the appliance's QEMU is stopped: the next daemon finds out, and the client goes on"""
    ring = one_disk(scene, hang_limit="2s")
    ring.works()
    os.kill(scene.serving(), signal.SIGSTOP)
    os.kill(scene.daemon_pid(), signal.SIGKILL)
    print(f"gone on after {timed(ring, 2):.2f} s")
    ring.works()
    assert re.search("(appliance|QEMU) hangs", scene.log()), scene.log()
    # One that was taken over in good health is watched, too.
    scene.kill_daemon()
    ring.works()
    os.kill(scene.serving(), signal.SIGSTOP)
    print(f"gone on after {timed(ring, 2):.2f} s")
    assert len(dumps(scene)) == 2
    scene.down()
