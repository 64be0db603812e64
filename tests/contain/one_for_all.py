"""One disk's, client's or file's trouble is that one's alone, at the start, while it runs, and at a restart."""
import fcntl
import os
import re
import signal
import threading
import time

from fixture.common import until, waits
from fixture.front import IOERR, OK, WRITE


def two_disks(scene, directory=None, **slice_):
    """A client on a disk of its own, beside one whose disk is about to have trouble: their rings."""
    scene.disk("good")
    image = scene.disk("bad", directory=directory)
    scene.gives("good", "good")
    scene.gives("bad", "bad", **slice_)
    scene.up()
    good, bad = scene.connect("good").rings[0], scene.connect("bad").rings[0]
    good.works()
    bad.works()
    return good, bad, image


def fails_at_a_restart(scene, trouble, help_, kind="disks", retry=False, **slice_):
    """The disk "bad" cannot be served when the appliance starts again; later it can."""
    good, bad, image = two_disks(scene, **slice_)
    before = os.urandom(512)
    bad.write(0, before)
    trouble(image)
    scene.restart_appliance()
    good.works()
    reason = scene.fails(kind, "bad")
    print(f"the reason: {reason}")
    assert reason
    assert scene.condition("disks", "good") == ("online", None)
    # What its client asks for now waits.
    bad.start(WRITE, 808, data=bytes(512))
    bad.kick()
    good.works()
    help_(image)
    if retry:
        code, answer = scene.command("retry", "bad")
        assert code == 0, answer
    scene.recovers(kind, "bad")
    assert bad.wait(1)[0].status == OK
    assert bad.read(0, 512) == before
    bad.works()
    good.works()
    # It stays so.
    scene.restart_appliance()
    bad.works()
    scene.down()


def away(image):
    """Moves an image away."""
    image.rename(f"{image}.away")


def back(image):
    """Moves it back."""
    os.rename(f"{image}.away", image)


@waits
def case_image_away(scene):
    """an image that is gone when the appliance starts again: the other disk is served, and this one when it is back"""
    fails_at_a_restart(scene, away, back)


def case_image_retried(scene):
    """the same, and `stellwerk retry` brings it back"""
    fails_at_a_restart(scene, away, back, retry=True)


@waits
def case_image_shrunk(scene):
    """the same for an image that has shrunk below the slice of its client, and grows again"""
    fails_at_a_restart(scene, lambda image: os.truncate(image, 1 << 20), lambda image: os.truncate(image, 16 << 20),
                       kind="exports", size=32768)


@waits
def case_image_shrunk_retried(scene):
    """the same, and `stellwerk retry` has it found out at once"""
    fails_at_a_restart(scene, lambda image: os.truncate(image, 1 << 20), lambda image: os.truncate(image, 16 << 20),
                       kind="exports", retry=True, size=32768)


def lengthens(image, seconds):
    """Adds to a file for so long."""
    with image.open("ab", buffering=0) as end:
        for _ in range(10 * seconds):
            end.write(bytes(4096))
            time.sleep(0.1)


def case_slice_of_a_longer_image(scene):
    """a slice beyond the end of an image of which another one is served: when the image is longer, `stellwerk resize` has it served"""
    image = scene.disk("shared")
    scene.gives("good", "shared", size=8192)
    scene.gives("bad", "shared", start=8192, size=24576)
    scene.up()
    good, bad = scene.connect("good").rings[0], scene.connect("bad").rings[0]
    bad.works()
    os.truncate(image, 8 << 20)
    scene.restart_appliance()
    scene.fails("exports", "bad")
    good.works()
    bad.start(WRITE, 808, data=bytes(512))
    bad.kick()
    os.truncate(image, 16 << 20)
    code, said = scene.command("resize", "shared")
    assert code == 0 and "32768 sectors" in said, said
    scene.recovers("exports", "bad")
    assert bad.wait(1)[0].status == OK
    bad.works()
    good.works()
    # A file that becomes longer and longer is left alone.
    writer = threading.Thread(target=lengthens, args=(image, 6))
    writer.start()
    code, said = scene.command("resize", "shared")
    assert code == 1 and "changing its length" in said, said
    writer.join()
    good.works()
    code, said = scene.command("resize", "shared")
    assert code == 0, said
    bad.works()
    scene.down()


@waits
def case_image_locked(scene):
    """the same for an image that another program has locked"""
    locks = []

    def lock(image):
        locks.append(image.open("rb"))
        # The bytes that QEMU's locks are on. Whoever has them already keeps them, and nobody gets them any more.
        fcntl.lockf(locks[0], fcntl.LOCK_SH | fcntl.LOCK_NB, 256, 100)

    fails_at_a_restart(scene, lock, lambda image: locks[0].close())


def fill(place):
    """Takes all that a file system has left; the file that has it."""
    filler = place / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(65536))
                file.flush()
        except OSError:
            pass
    return filler


def case_full_file_system(scene):
    """a full file system under one disk: its client gets I/O errors and goes on when there is room, the other notices nothing"""
    place = scene.small_file_system("small", "6M")
    good, bad, _ = two_disks(scene, place)
    filler = fill(place)
    statuses = []
    for number in range(16):
        statuses.append(bad.run(WRITE, 8192 + 128 * number, data=bytes([number]) * 4096).status)
    assert IOERR in statuses, f"no write failed: {statuses}"
    good.works()
    until("the log says so", lambda: re.search('WARN.*disk "bad": a request has failed in QEMU: No space left', scene.log()))
    # A client that goes on and on does not fill the log.
    for number in range(500):
        bad.run(WRITE, 24576 + 8 * (number % 128), data=bytes(4096))
    assert len(scene.log()) < 64 << 10, "the log was flooded"
    # Not paused: neither now nor in the next life.
    scene.restart_appliance()
    good.works()
    filler.unlink()
    bad.works(16384)
    scene.down()


def case_errors_of_two_disks(scene):
    """a client that has any number of requests fail does not use up the log lines of another disk"""
    place = scene.small_file_system("small", "6M")
    for name in ("loud", "quiet"):
        scene.disk(name, directory=place)
        scene.gives(name, name)
    scene.up()
    loud, quiet = (scene.connect(name).rings[0] for name in ("loud", "quiet"))
    fill(place)
    for number in range(200):
        loud.run(WRITE, 8192 + 128 * (number % 128), data=bytes([number]) * 4096)
    until("the log says so", lambda: re.search('WARN.*disk "loud": a request has failed in QEMU', scene.log()))
    statuses = [quiet.run(WRITE, 8192 + 128 * number, data=bytes([number + 1]) * 4096).status for number in range(16)]
    assert IOERR in statuses, f"no write failed: {statuses}"
    until("the log says so", lambda: re.search('WARN.*disk "quiet": a request has failed in QEMU', scene.log()))
    scene.down()


@waits
def case_deadly_request(scene):
    """a disk of a client that the appliance dies of, twice, is out of service; the other is served; `stellwerk retry` ends that"""
    good, bad, _ = two_disks(scene)

    def dies():
        # A life in which nobody has asked for anything. That it ends from outside is nobody's fault.
        scene.restart_appliance()
        pid = scene.serving()
        scene.break_function("driver::virtio_blk::VirtioBlk as appliance::driver::block::BlockDevice>::submit")
        bad.start(WRITE, 64, data=b"deadly".ljust(512))
        bad.kick()
        until("the appliance has died of it", lambda: scene.status()["appliance"]["pid"] != pid)
        scene.killed = pid
        scene.serving()

    dies()
    assert bad.wait(1)[0].status == OK, "the next life does it again"
    assert scene.condition("exports", "bad") == ("online", None)
    good.works()
    dies()
    good.works()
    reason = scene.fails("exports", "bad")
    assert "has died 2 times" in reason, reason
    assert not bad.done(), "it waits"
    code, answer = scene.command("retry", "bad")
    assert code == 0, answer
    assert bad.wait(1)[0].status == OK
    scene.recovers("exports", "bad")
    assert bad.read(64, 512).startswith(b"deadly")
    bad.works()
    good.works()
    assert scene.log().count("program interruption") >= 2, "the appliance has said what it died of"
    scene.down()


@waits
def case_area_spoilt(scene):
    """a channel-level client spoils its own area: the appliance starts again for the others, and that client is served when it is new"""
    scene.disk("good")
    scene.client("good")
    scene.gives("good", "good")
    scene.terminal("bare")
    scene.up()
    good = scene.connect("good").rings[0]
    bare = scene.channel_client("bare")
    bare.enable()
    at, daemon = bare.area.at, scene.daemon_pid()
    header = bare.window.get(at, 64)
    for spoil in (bytes(64), os.urandom(64), header[:16] + b"\xff" * 16 + header[32:], header[:28] + b"\0\0\0\0" + header[32:]):
        bare.window.put(at, spoil)
        scene.restart_appliance()
        good.works()
        assert scene.daemon_pid() == daemon
    # Its parts are no better.
    bare.window.put(at + 64, os.urandom(bare.area.length - 64))
    scene.restart_appliance()
    good.works()
    # Another kernel, which knows nothing of it, and then the client once more.
    bare.window.put(at, bytes(bare.area.length))
    bare.close()
    scene.restart_appliance()
    good.works()
    scene.recovers("clients", "bare")
    again = scene.channel_client("bare")
    again.enable()
    good.works()
    scene.down()


def pauses(scene):
    """Milliseconds before each start after a death, as the log says them: the first one comes at once."""
    return [int(number) for number in re.findall(r"started again in (\d+) ms", scene.log())]


@waits
def case_many_deaths(scene):
    """eight deaths, one upon the other: the daemon tries again, more and more slowly, and the client goes on"""
    scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")
    scene.up()
    ring = scene.connect("a").rings[0]
    ring.works()
    for _ in range(8):
        scene.kill_appliance()
    ring.works(seconds=90)
    assert scene.status()["appliance"]["restarts"] >= 8
    paused = pauses(scene)
    print(f"pauses: {paused} ms")
    assert paused == sorted(paused) and paused[-1] >= 8 * paused[0] and paused[-1] <= 30000, paused
    scene.down()


@waits
def case_stop_between_deaths(scene):
    """SIGTERM while the appliance has died and is not there yet again: the daemon ends soon, and in order"""
    scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")
    scene.up()
    ring = scene.connect("a").rings[0]
    ring.works()
    for _ in range(8):
        scene.kill_appliance()
    # Longer than the daemon may take.
    until("it is to rest for seconds", lambda: max(pauses(scene), default=0) >= 6400)
    scene.down(3)


def case_no_client(scene):
    """a configuration without a client: only an appliance, with a disk, and with a subchannel of the host's"""
    def serves():
        scene.up()
        assert scene.status()["appliance"]["life"] == "serving"
        scene.restart_appliance()
        scene.down()
        scene.log_file.write_text("")

    serves()
    scene.disk("data")
    serves()
    scene.terminal()
    scene.up()
    code, answer = scene.command("ccw", "0.0.3270", "sense-id")
    assert code == 0, answer
    scene.down()


def case_many_disks(scene):
    """forty disks with the default amount of private memory: all are served, also after a restart"""
    scene.client("a")
    for number in range(40):
        scene.disk(f"d{number}", "1M")
        scene.gives("a" if number < 20 else "b", f"d{number}")
    scene.client("b")
    scene.up()
    windows = {client: scene.window(client) for client in ("a", "b")}
    rings = [scene.connect(client, number, windows[client], size=16).rings[0] for client in ("a", "b") for number in range(20)]
    for ring in rings:
        ring.works(requests=2)
    scene.restart_appliance()
    for ring in rings:
        ring.works(requests=2)
    scene.down()


def case_hanging_appliance(scene):
    """the appliance's QEMU is stopped and then killed: the client goes on"""
    scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")
    scene.up()
    ring = scene.connect("a").rings[0]
    pid = scene.serving()
    os.kill(pid, signal.SIGSTOP)
    ring.start(WRITE, 0, data=bytes(4096))
    ring.kick()
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    assert ring.wait(1)[0].status == OK
    ring.works()
    scene.down()
