"""Peers of the daemon are hostile or poor: none of them stops, floods, spins or kills it."""
import multiprocessing
import os
import re
import resource
import signal
import socket
import threading
import time
from pathlib import Path

from fixture.common import until
from fixture.front import OK, READ, SET_MEM_TABLE, SET_OWNER, SET_VRING_ERR, SET_VRING_KICK, WRITE, Disk, Refused, Ring


def pair(scene):
    """A good client and a bad one, each on its own disk."""
    for client in ("good", "bad"):
        scene.disk(client)
        scene.client(client)
        scene.gives(client, client)
    scene.up()
    good = scene.connect("good")
    good.rings[0].works()
    return good.rings[0]


def quiet(scene, ring):
    """Nobody spins: over a second of nothing to do, the daemon and the appliance hardly turn."""
    def counts():
        status = scene.status()
        return status["daemon"]["kicks"], status["daemon"]["sleeps"], status["appliance"]["sleeps"]

    time.sleep(0.3)
    before = counts()
    time.sleep(1)
    after = counts()
    grown = [now - then for then, now in zip(before, after)]
    print(f"kicks and sleeps within a second of quiet: {grown}")
    assert max(grown) < 500, f"somebody spins: {grown} kicks and sleeps within a second"
    ring.works()


def case_semaphore_kick(scene):
    """a kick eventfd in semaphore mode with a count of 2^40: a few looks at the queue, and quiet"""
    good = pair(scene)
    bad = scene.connect("bad", kick_flags=os.EFD_SEMAPHORE | os.EFD_NONBLOCK)
    bad.rings[0].works()
    os.eventfd_write(bad.rings[0].kick_fd, 1 << 40)
    bad.rings[0].works()
    quiet(scene, good)
    bad.rings[0].works()
    # A count that is raised again and again.
    for _ in range(1000):
        os.eventfd_write(bad.rings[0].kick_fd, 1 << 20)
    quiet(scene, good)
    bad.rings[0].works()
    scene.down()


def case_kick_for_ever(scene):
    """a kick descriptor that is always readable and no eventfd at all: it is refused, or quiet"""
    good = pair(scene)
    for path in ("/dev/zero", "/dev/null"):
        bad = Disk(scene.window("bad")).negotiate()
        ring = Ring(bad.window, 0)
        os.close(ring.kick_fd)
        ring.kick_fd = os.open(path, os.O_RDWR)
        try:
            bad.start(ring)
        except Refused as refused:
            print(f"{path}: {refused}")
        quiet(scene, good)
        bad.close()
    scene.connect("bad").rings[0].works()
    scene.down()


def sends_files(pipe, window, image):
    """A process that sends an open file with all kinds of messages each time it is told to, and gives the answers."""
    file = os.open(image, os.O_RDWR)
    pipe.send("opened")
    while pipe.recv():
        answers = []
        for message, payload in ((SET_MEM_TABLE, window.region()), (SET_VRING_KICK, bytes(8)), (SET_VRING_ERR, bytes(8)), (SET_OWNER, b"")):
            bad = Disk(window)
            bad.socket.settimeout(20)
            try:
                bad.negotiate()
                bad.do(message, payload, [file])
                answers.append("taken")
            except (Refused, TimeoutError) as error:
                answers.append(str(error))
            bad.close()
        pipe.send(answers)


def stuck_file(scene, window):
    """An open file that cannot be closed while the process that serves it is stopped: that process, and what has the file
    sent. Another process has it, because each one that this one starts would have to close it."""
    backing, image = scene.directory / "stuck.backing", scene.directory / "stuck"
    backing.write_bytes(bytes(1 << 20))
    holder = scene.exported_file(image, backing)
    fork = multiprocessing.get_context("fork")
    pipe, theirs = fork.Pipe()
    fork.Process(target=sends_files, args=(theirs, window, image), daemon=True).start()
    assert pipe.recv() == "opened"
    holder.send_signal(signal.SIGSTOP)

    def offer():
        pipe.send(True)
        assert pipe.poll(60), "the sender of files got no answer"
        return pipe.recv()

    return holder, offer


def case_files_that_do_not_close(scene):
    """a peer sends files whose end takes for ever: it is answered, and sent away when there are many; others do not notice"""
    good = pair(scene)
    window = scene.window("bad")
    holder, offer = stuck_file(scene, window)
    answers = offer()
    print(answers)
    assert len(answers) == 4, answers
    until("the log says so", lambda: "no file that cannot shrink" in scene.log())
    good.works()
    # Whoever comes next, and sends nothing of the kind, is served.
    again = scene.connect("bad")
    again.rings[0].works()
    again.close()
    good.works()
    # The log has been written to often enough just now, so that it may take some seconds until it says so.
    until("it is sent away", lambda: offer() and "files that cannot be closed" in scene.log(), pause=0.5)
    good.works()
    holder.send_signal(signal.SIGCONT)
    again = scene.connect("bad")
    again.rings[0].works()
    again.close()
    # The same at the end.
    holder.send_signal(signal.SIGSTOP)
    print(until("it sends files once more", lambda: [answer for answer in offer() if "closed" not in answer]))
    good.works()
    old, scene.daemon = scene.daemon, None
    old.terminate()
    until("all that it had is gone", lambda: not list(scene.run.glob("*.sock")))
    scene.log_file.write_text("")
    scene.up()
    scene.connect("good").rings[0].works()
    holder.send_signal(signal.SIGCONT)
    assert old.wait(30) == 0, f"the daemon ended with status {old.returncode}"
    scene.down()


def case_full_call(scene):
    """a call eventfd that is blocking and full: the others are served while it is there, and the daemon ends when told to"""
    good = pair(scene)
    bad = scene.connect("bad", call_flags=0)
    ring = bad.rings[0]
    os.eventfd_write(ring.call_fd, 0xFFFFFFFFFFFFFFFE)
    for _ in range(5):
        # The open file is the client's as well: whoever makes it non-blocking has not done so for ever.
        os.set_blocking(ring.call_fd, True)
        ring.start(READ, 0, 4096)
        ring.kick()
        good.works(seconds=20)
        time.sleep(0.2)
    # It gets what it asked for, and when it is gone everything is as before.
    assert len(ring.wait(5)) == 5
    bad.close()
    good.works()
    again = scene.connect("bad")
    again.rings[0].works()
    again.close()
    # Full again, and then the end.
    ring = scene.connect("bad", call_flags=0).rings[0]
    os.eventfd_write(ring.call_fd, 0xFFFFFFFFFFFFFFFE)
    os.set_blocking(ring.call_fd, True)
    ring.start(READ, 0, 4096)
    ring.kick()
    good.works()
    scene.down(30)


def case_second_machine(scene):
    """a second VM on a disk's socket is refused at once, in words, and the first one notices nothing"""
    good = pair(scene)
    began = time.monotonic()
    try:
        second = Disk(scene.window("good"))
        second.socket.settimeout(10)
        second.open()
        raise AssertionError("a second VM was served")
    except Refused as refused:
        print(f"{refused}, after {time.monotonic() - began:.2f} s")
    except TimeoutError:
        raise AssertionError("a second VM was left without an answer for 10 s") from None
    said = until("the log says so", lambda: [line for line in scene.log().splitlines() if "WARN" in line and "good" in line])
    print(said[-1])
    good.works()
    scene.down()


def case_second_channel_client(scene):
    """a channel-level client that is started twice: the second is refused, and the first one keeps its link"""
    scene.terminal("bare")
    scene.up()
    first = scene.channel_client("bare")
    first.enable()
    second = socket.socket(socket.AF_UNIX)
    second.settimeout(10)
    second.connect(first.window.sockets[0])
    try:
        assert second.recv(1) == b"", "the second link has got something"
    except ConnectionResetError:
        pass
    except TimeoutError:
        raise AssertionError("the second link is still open after 10 s") from None
    assert first.enabled(), "the first client was reset"
    time.sleep(0.2)
    try:
        assert first.link.recv(64) != b"", "the link of the first client was closed"
    except BlockingIOError:
        pass
    scene.down()


def seconds_of_processor(pid):
    """What a process has used of the processors so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def case_many_descriptors(scene):
    """64 disks of four queues under a soft limit of 1024 descriptors: all are connected and served, also after a restart"""
    for number in range(64):
        scene.disk(f"d{number}", "1M")
        scene.gives("a" if number < 32 else "b", f"d{number}", queues=4)
    scene.appliance["memory"] = "128M"
    scene.up(descriptors=(1024, 20000))
    disks = []
    for client in ("a", "b"):
        window = scene.window(client)
        for number in range(32):
            disks.append(Disk(window, number))
            disks[-1].open(queues=4, size=16)
    for disk in disks:
        disk.rings[3].works(requests=1)
    scene.restart_appliance()
    for disk in disks:
        disk.rings[0].works(requests=1)
    assert len(scene.log()) < 1 << 20, "the log was flooded"
    scene.down()


def case_no_descriptors(scene):
    """so few descriptors that not everybody can connect: `up` says so, or the log stays short and the daemon can be ended"""
    for number in range(8):
        scene.disk(f"d{number}", "1M")
        scene.gives("a", f"d{number}", queues=4)
    scene.start(descriptors=(64, 64))
    if not scene.ready():
        assert re.search("descriptors|open files", scene.log()), scene.log()
        scene.daemon = None
        return
    window = scene.window("a")
    others = []
    for number in list(range(8)) * 8:
        other = socket.socket(socket.AF_UNIX)
        other.connect(window.sockets[number])
        others.append(other)
    time.sleep(3)
    assert len(scene.log()) < 64 << 10, "the log was flooded"
    for other in others:
        other.close()
    scene.down()


def case_accept_fails(scene):
    """no descriptor is left when a client connects: neither log nor processor notice, the appliance can die, and later it is served"""
    for name in ("good", "late"):
        scene.disk(name)
        scene.gives(name, name)
    scene.up(descriptors=(1024, 1024))
    good, window = scene.connect("good").rings[0], scene.window("late")
    good.works()
    daemon, appliance = scene.daemon_pid(), scene.serving()
    # The lowest number that is free is the one that accept(2) would give; the highest 64 are kept back for the appliance.
    used = {int(fd) for fd in os.listdir(f"/proc/{daemon}/fd")}
    lowest = next(number for number in range(1024) if number not in used)
    resource.prlimit(daemon, resource.RLIMIT_NOFILE, (lowest + 64, 1024))
    before = seconds_of_processor(daemon)
    late = Disk(window)
    time.sleep(3)
    spent = seconds_of_processor(daemon) - before
    print(f"{spent} s of the processor's within 3 s of refusing")
    assert spent < 0.5, f"it spins: {spent} s of the processor's within 3 s"
    assert len(scene.log()) < 64 << 10, "the log was flooded"
    # Nobody can be asked for the status.
    os.kill(appliance, signal.SIGKILL)
    until("another appliance serves", lambda: scene.log().count("appliance serves") == 2)
    time.sleep(1)
    assert len(scene.log()) < 64 << 10, "the log was flooded"
    resource.prlimit(daemon, resource.RLIMIT_NOFILE, (1024, 1024))
    # A disk for which there was no descriptor is tried again, and so does whoever was refused meanwhile.
    good.works()
    late.close()
    scene.connect("late", window=window).rings[0].works()
    scene.down()


def case_many_questions(scene):
    """forty connections to the control socket that say nothing: status is answered all the same, or says why not"""
    pair(scene)
    (path,) = (it for it in scene.run.glob("*.sock") if "control" in it.name or "admin" in it.name)
    idle = []
    for _ in range(40):
        idle.append(socket.socket(socket.AF_UNIX))
        idle[-1].connect(str(path))
    code, answer = scene.command("status", seconds=30)
    assert code == 0 or re.search("try again", answer), answer
    for one in idle:
        one.close()
    until("status is answered again", lambda: scene.command("status")[0] == 0)
    scene.down()


def case_daemon_killed(scene):
    """after kill -9 of daemon and keeper and a new start, the old VM is refused in words and not shown as connected"""
    scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")
    scene.up()
    old = scene.window("a")
    disk = scene.connect("a", window=old)
    disk.rings[0].works()
    scene.kill_all()
    assert disk.closed()
    scene.log_file.write_text("")
    scene.up()
    again = Disk(old)
    try:
        again.open()
        raise AssertionError("a VM is served that was served by a daemon that has died")
    except Refused:
        pass
    until("the log says so", lambda: "a daemon that has died" in scene.log())
    assert not scene.status()["clients"][0]["connected"], "it is shown as connected"
    # It does not keep the socket for itself: one that is started in its place is served while the old
    # one comes again and again, as its QEMU does.
    assert again.closed(20), "the connection of a refused VM is kept"
    again.close()
    done = threading.Event()

    def knock():
        while not done.wait(0.2):
            try:
                Disk(old).open()
            except (Refused, OSError):
                pass

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        disk = scene.connect("a", window=scene.window("a", new=True))
        for _ in range(5):
            disk.rings[0].works()
            time.sleep(0.2)
    finally:
        done.set()
        knocking.join()
    assert len(scene.log()) < 1 << 16, "the log was flooded"
    scene.down()


def case_two_daemons(scene):
    """two daemons at once for one configuration: one is ready, the other says that there is one"""
    scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")
    for _ in range(5):
        scene.log_file.write_text("")
        scene.start()
        first = scene.daemon
        scene.start()
        second = scene.daemon
        until("one of them has ended", lambda: None not in (first.poll(), second.poll()) or first.poll() != second.poll())
        assert {first.poll(), second.poll()} == {None, 1}, (first.poll(), second.poll(), scene.log())
        scene.daemon = first if first.poll() is None else second
        scene.ready()
        scene.connect("a").rings[0].works()
        scene.down()


def case_refused_messages(scene):
    """a front end that sends nonsense: the good one is served, and the bad one when it behaves"""
    good = pair(scene)
    for size in (0, 12, 4096):
        bad = Disk(scene.window("bad"))
        bad.send(5, os.urandom(size))
        bad.close()
    bad = Disk(scene.window("bad"))
    bad.socket.sendall(os.urandom(100_000))
    bad.close()
    # Half a message, and then nothing.
    half = Disk(scene.window("bad"))
    half.socket.sendall(b"\1\0\0")
    good.works()
    half.close()
    # A queue out of nowhere.
    bad = Disk(scene.window("bad")).negotiate()
    ring = Ring(bad.window, 0)
    ring.descriptors = bad.window.size + 4096
    try:
        bad.start(ring)
    except Refused as refused:
        print(refused)
    bad.close()
    ring = scene.connect("bad").rings[0]
    ring.works()
    assert ring.run(WRITE, 0, data=bytes(512)).status == OK
    good.works()
    scene.down()


def case_dies_while_a_file_does_not_close(scene):
    """the daemon is killed while it has a file whose end takes for ever, and is never quite gone: another one goes on all the same"""
    good = pair(scene)
    window = scene.window("bad")
    holder, offer = stuck_file(scene, window)
    print(offer())
    good.works()
    daemon = scene.daemon_pid()
    os.kill(daemon, signal.SIGKILL)
    until("another daemon goes on", lambda: "goes on where another" in scene.log())
    assert Path(f"/proc/{daemon}").exists(), "it has ended, and this shows nothing"
    good.works()
    scene.connect("bad", window=window).rings[0].works()
    holder.send_signal(signal.SIGCONT)
    scene.down()
