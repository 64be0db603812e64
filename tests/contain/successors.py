"""A daemon that dies is followed by another one, and its clients do not notice."""
import contextlib
import os
import random
import signal
import socket
import struct
import threading
import time
from pathlib import Path

from contain.endings import fill, shared_disk, shared_disk_that_stops
from fixture.common import until
from fixture.front import GET_FEATURES, OK, SET_MEM_TABLE, SET_VRING_CALL, Disk, Refused, Ring


class Load:
    """Requests without end, each of them verified; how long the longest has taken, and which error there was."""

    def __init__(self, ring, sector=0):
        self.ring, self.sector = ring, sector
        self.longest, self.count, self.error = 0, 0, None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        """Until it is told to stop."""
        try:
            while not self.stop.is_set():
                data = os.urandom(4096)
                began = time.monotonic()
                self.ring.write(self.sector, data)
                assert self.ring.read(self.sector, 4096) == data
                self.longest = max(self.longest, time.monotonic() - began)
                self.count += 1
        except AssertionError as error:
            self.error = error

    def since(self):
        """Waits until some more are done: the longest since this was last asked."""
        before = self.count
        until("requests go on", lambda: self.error or self.count > before + 20)
        assert not self.error, self.error
        longest, self.longest = self.longest, 0
        return longest

    def end(self):
        """It has gone well."""
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive() and not self.error, self.error


def lingering():
    """A connection whose end takes a minute: its peer does not read, and whoever closes it waits for that."""
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    peer, _ = listener.accept()
    listener.close()
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(bytes(1 << 16))
    ours.setblocking(True)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    return ours, peer


def case_files_that_end_late(scene):
    """a client sends files whose end takes long, and goes before they were taken: the daemon that is killed then has a successor all the same,
    and another client does not notice"""
    shared_disk(scene, ("steady", "rude"))
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    ours, peer = lingering()
    for _ in range(3):
        rude = Disk(scene.window("rude"))
        with contextlib.suppress(Refused):
            # More than the daemon takes.
            for _ in range(80):
                rude.send(GET_FEATURES, fds=[ours.fileno()] * 4)
        rude.socket.close()
    # The last of all is in what was sent.
    os.close(ours.detach())
    load.since()
    scene.kill_daemon()
    load.since()
    assert not steady.closed(0)
    peer.close()
    load.end()
    steady.close()
    scene.down()


def case_daemon_dies(scene):
    """the daemon is killed ten times under load: no connection ends, no request fails; who comes, goes, stops and starts is served as ever"""
    shared_disk(scene, ("steady", "other"), queues=2)
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    alone = load.since()
    other = scene.connect("other")
    longest = 0
    for number in range(10):
        fill(other.rings[0], 30)
        old, new = scene.kill_daemon()
        assert old != new
        assert all(done.status == OK for done in other.rings[0].wait(30))
        longest = max(longest, load.since())
        assert not steady.closed(0) and not other.closed(0)
        other.rings[0].works(sector=1024)
        if number % 3 == 2:
            # Its queue is released and begins anew; or it goes, and another one comes.
            other.close()
            other = scene.connect("other", window=scene.windows["other"])
            other.rings[0].works(sector=1024)
    print(f"the longest pair of requests: {alone * 1000:.1f} ms before, {longest * 1000:.1f} ms with ten deaths")
    status = scene.status()
    assert status["appliance"]["restarts"] == 0, status["appliance"]
    assert all(disk["connected"] for client in status["clients"] for disk in client["disks"])
    load.end()
    other.close()
    scene.down()


def case_keeper_dies(scene):
    """the keeper is killed, and the daemon after it, five times: another keeper is started, which keeps all of it"""
    shared_disk(scene, ("steady",))
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    for _ in range(5):
        keeper, before = scene.keeper_pid(), scene.log().count("another keeper is started")
        os.kill(keeper, signal.SIGKILL)
        until("another keeper is started", lambda: scene.log().count("another keeper is started") > before)
        until("it has everything", lambda: len(os.listdir(f"/proc/{scene.keeper_pid()}/fd")) > 12)
        scene.kill_daemon()
        load.since()
    assert not steady.closed(0)
    load.end()
    steady.close()
    os.kill(scene.daemon_pid(), signal.SIGTERM)
    until("all has ended", lambda: not list(scene.run.glob("*.sock")))


def case_daemon_and_appliance_die(scene):
    """both are killed at once, with requests in flight, five times: clients see longer requests and nothing else"""
    holder = shared_disk_that_stops(scene, ("steady", "other"))
    steady, other = scene.connect("steady"), scene.connect("other")
    for _ in range(5):
        holder.send_signal(signal.SIGSTOP)
        fill(steady.rings[0], 20)
        fill(other.rings[0], 20)
        time.sleep(0.1)
        appliance, daemon = scene.serving(), scene.daemon_pid()
        os.kill(appliance, signal.SIGKILL)
        os.kill(daemon, signal.SIGKILL)
        scene.killed = appliance
        holder.send_signal(signal.SIGCONT)
        for disk in (steady, other):
            assert all(done.status == OK for done in disk.rings[0].wait(20, 90))
            assert not disk.closed(0)
            disk.rings[0].works()
    scene.serving()
    for disk in (steady, other):
        disk.close()
    scene.down()


def case_appliance_of_a_dead_daemon_dies(scene):
    """an appliance that was started by a daemon which has died is killed, twice: another one serves, and nothing of the dead one is left in the
    table of processes while the daemon runs"""
    shared_disk(scene, ("steady",))
    steady = scene.connect("steady")
    for _ in range(2):
        scene.kill_daemon()
        steady.rings[0].works()
        daemon, appliance = scene.daemon_pid(), scene.serving()
        os.kill(appliance, signal.SIGKILL)
        scene.killed = appliance
        steady.rings[0].works(seconds=90)
        until("its end is collected", lambda: not os.path.exists(f"/proc/{appliance}"))
        assert scene.daemon_pid() == daemon and scene.serving() != appliance
    steady.close()
    scene.down()


def case_nobody_is_left(scene):
    """daemon and keeper are killed at once: the appliance's QEMU ends by that, and what is started anew serves who comes anew"""
    shared_disk(scene, ("steady",))
    disk = scene.connect("steady")
    disk.rings[0].works()
    appliance = scene.serving()
    scene.kill_all()
    until("QEMU has ended", lambda: not os.path.exists(f"/proc/{appliance}") or open(f"/proc/{appliance}/stat").read().rpartition(")")[2].split()[0] == "Z")
    assert disk.closed()
    scene.log_file.write_text("")
    scene.up()
    scene.connect("steady", window=scene.window("steady", new=True)).rings[0].works()
    scene.down()


def case_dies_while_a_disk_is_released(scene):
    """the daemon is killed while a VM waits for the release of its queue: the next one answers it when the disk has ended what it has"""
    holder = shared_disk_that_stops(scene, ("steady",))
    disk = scene.connect("steady")
    holder.send_signal(signal.SIGSTOP)
    fill(disk.rings[0], 10)
    time.sleep(0.2)
    asked = threading.Thread(target=disk.stop, args=(0,), daemon=True)
    asked.start()
    time.sleep(0.3)
    scene.kill_daemon()
    time.sleep(0.5)
    assert asked.is_alive(), "it is answered while requests are in flight"
    scene.kill_daemon()
    holder.send_signal(signal.SIGCONT)
    asked.join(30)
    assert not asked.is_alive(), "it is not answered"
    assert all(done.status == OK for done in disk.rings[0].wait(10))
    disk.close()
    again = Disk(scene.windows["steady"]).open()
    again.rings[0].works()
    again.close()
    scene.down()


def daemon_of(keeper):
    """The process id of a keeper's daemon. Others are its children, too, when their parent has died."""
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    (daemon,) = (int(pid) for pid in children if b"up" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
    return daemon


def case_dies_at_any_message(scene):
    """forty deaths while VMs set their disks up, stop queues, say the same again and again and go, all the time: each message is answered,
    once, and rightly"""
    clients = ("one", "two", "three")
    for client in clients:
        scene.disk(client)
        scene.client(client)
        scene.gives(client, client, queues=2)
    scene.up()
    stop = threading.Event()
    rounds, trouble, lost = dict.fromkeys(clients, 0), [], []

    def connected(window):
        """What a VM's QEMU does, too: a connection that ends before anything has come of it is made again. The daemon that has just
        accepted one may die before the keeper has it."""
        disk = Disk(window)
        try:
            disk.ask(GET_FEATURES)
        except Refused:
            lost.append(window)
            disk = Disk(window)
        return disk.negotiate()

    def lives(client):
        window = scene.windows[client]
        free = window.free
        try:
            while not stop.is_set():
                window.free = free
                disk = connected(window)
                for index in range(2):
                    disk.start(Ring(window, index))
                for ring in disk.rings:
                    ring.works(requests=2)
                base = disk.stop(0)
                assert base == disk.rings[0].produced, (base, disk.rings[0].produced)
                disk.start(disk.rings[0], base)
                disk.rings[0].works(requests=2)
                disk.enable(1, False)
                disk.enable(1, True)
                # None of them can be told from the one before by what it says.
                assert len(set(disk.ask_again_and_again(10, GET_FEATURES))) == 1
                disk.rings[1].works(requests=2)
                disk.close()
                rounds[client] += 1
        except Exception as error:  # whatever it is, the case has failed
            trouble.append((client, rounds[client], repr(error)))

    for client in clients:
        scene.window(client)
    threads = [threading.Thread(target=lives, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for number in range(40):
        time.sleep(0.02 + random.random() * 0.3)
        # Nothing is started here meanwhile: it would have copies of the sockets, and a VM that has gone would still be there.
        os.kill(daemon_of(scene.daemon.pid), signal.SIGKILL)
        until("another daemon goes on", lambda: trouble or scene.log().count("goes on where another") > number)
        assert not trouble, trouble[0]
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not trouble, trouble[0]
    print(f"lives of VMs meanwhile: {rounds}; connections lost while they were accepted: {len(lost)}")
    assert len(lost) < 10
    scene.down()


def case_keeper_stopped(scene):
    """a keeper that does nothing, and takes nothing, is replaced: when the daemon dies then, one other daemon goes on, and not two"""
    shared_disk(scene, ("steady",))
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    keeper = scene.keeper_pid()
    os.kill(keeper, signal.SIGSTOP)

    def replaced():
        # Each of these is a message with a file, which is to be kept.
        for _ in range(20):
            steady.do(SET_VRING_CALL, struct.pack("<Q", 0), [steady.rings[0].call_fd])
        return "another keeper is started" in scene.log()

    until("another keeper is started", replaced)
    until("the one that did nothing has ended", lambda: scene.daemon.poll() is not None)
    until("the other one has everything", lambda: scene.keeper_pid() != keeper and len(os.listdir(f"/proc/{scene.keeper_pid()}/fd")) > 12)
    scene.kill_daemon()
    load.since()
    time.sleep(0.5)
    assert scene.log().count("goes on where another") == 1
    assert not steady.closed(0)
    load.end()
    steady.close()
    os.kill(scene.daemon_pid(), signal.SIGTERM)
    until("all has ended", lambda: not list(scene.run.glob("*.sock")))


def case_files_of_no_use(scene):
    """a client hands over files that are of no use to anybody, again and again: neither daemon nor keeper has more of them than before"""
    shared_disk(scene, ("steady", "bad"))
    good = scene.connect("steady").rings[0]
    window = scene.window("bad")
    pids = scene.daemon_pid(), scene.keeper_pid()

    def opened():
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]

    useless = os.open("/dev/null", os.O_RDWR)
    before = opened()
    for _ in range(40):
        disk = Disk(window)
        try:
            disk.negotiate()
            for _ in range(4):
                disk.do(SET_MEM_TABLE, window.region(), [useless])
        except Refused:
            pass
        disk.close()
    good.works()
    until("nothing of it is left", lambda: all(now <= then + 4 for now, then in zip(opened(), before)))
    scene.down()
