"""Every release, stop and end comes in bounded time and with the right state."""
import signal
import time

from contain import failing_qemu
from fixture.common import until, waits
from fixture.front import FLUSH, GET_VRING_BASE, OK, READ, WRITE, Ring


def fill(ring, count, kind=WRITE):
    """So many requests in flight at once."""
    for number in range(count):
        if kind == WRITE:
            ring.start(WRITE, 8 * number, data=bytes([number % 256]) * 4096)
        else:
            ring.start(kind, 8 * number, 4096)
    ring.kick()


def shared_disk(scene, clients=("steady", "doomed"), queues=1):
    """One disk with a slice for each client."""
    scene.disk("data", "64M")
    for number, client in enumerate(clients):
        scene.client(client)
        scene.gives(client, "data", start=number * 65536, size=65536, queues=queues)
    scene.up()


def shared_disk_that_stops(scene, clients, size=65536):
    """The same, on a disk that returns nothing while the process that has it is stopped: that process."""
    image = scene.disk("data", "64M", cache="writeback", aio="threads")
    backing = image.with_suffix(".backing")
    image.rename(backing)
    holder = scene.exported_file(image, backing)
    for number, client in enumerate(clients):
        scene.client(client)
        scene.gives(client, "data", start=number * size, size=size, queues=1)
    scene.up()
    return holder


def case_client_killed_on_a_full_disk(scene):
    """two clients fill one disk's queues and one is killed, ten times: it can come again at once, and the other goes on"""
    shared_disk(scene)
    steady = scene.connect("steady", size=1024).rings[0]
    window = scene.window("doomed")
    for _ in range(10):
        window.begin_anew()
        doomed = scene.connect("doomed", window=window, size=1024)
        fill(steady, 300)
        fill(doomed.rings[0], 300)
        doomed.close()
        assert all(done.status == OK for done in steady.wait(300))
    window.begin_anew()
    scene.connect("doomed", window=window).rings[0].works()
    steady.works()
    scene.down()


def case_client_and_appliance_killed(scene):
    """client and appliance are killed together with some 300 requests open: the client can come again"""
    holder = shared_disk_that_stops(scene, ("steady", "doomed"))
    steady = scene.connect("steady", size=1024).rings[0]
    window = scene.window("doomed")
    areas = scene.areas()
    for _ in range(3):
        window.begin_anew()
        doomed = scene.connect("doomed", window=window, size=1024)
        # Neither wants anything for a moment: the first one is alone then, and has all that the disk takes.
        time.sleep(0.5)
        # The disk returns nothing, or all of it would be done before anybody is killed.
        holder.send_signal(signal.SIGSTOP)
        try:
            fill(steady, 300)
            until("64 requests are in flight", lambda: sum(area.in_flight() for area in areas) >= 64)
            fill(doomed.rings[0], 300)
            until("both have some", lambda: sum(area.in_flight() > 0 for area in areas) == 2)
            scene.kill_appliance()
        finally:
            holder.send_signal(signal.SIGCONT)
        doomed.close()
        assert all(done.status == OK for done in steady.wait(300))
        window.begin_anew()
        again = scene.connect("doomed", window=window)
        again.rings[0].works()
        again.close()
    steady.works()
    scene.down()


def case_fair_share(scene):
    """four clients keep a disk of four queues full: each gets as many requests in flight, and a like share of what is done"""
    clients = ("a", "b", "c", "d")
    holder = shared_disk_that_stops(scene, clients, 32768)
    rings = [scene.connect(client, size=1024).rings[0] for client in clients]
    # The disk takes what its queues hold, and returns nothing: whoever comes first leaves the others theirs.
    areas = scene.areas()[1:]  # the first one is the daemon's own
    holder.send_signal(signal.SIGSTOP)
    try:
        for ring in rings:
            fill(ring, 200, READ)
            time.sleep(0.3)
        shares = [area.in_flight() for area in areas]
    finally:
        holder.send_signal(signal.SIGCONT)
    print(f"in flight: {shares}")
    assert len(shares) == len(clients) and min(shares) * 5 > max(shares), shares
    counts = [0] * len(rings)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        for number, ring in enumerate(rings):
            done = ring.done()
            counts[number] += len(done)
            for _ in done:
                ring.start(READ, 8 * (counts[number] % 200), 4096)
            if done:
                ring.kick()
    print(f"done: {counts}")
    assert min(counts) * 5 > max(counts), counts
    for ring in rings:
        ring.wait(len(ring.open))
    scene.down()


def stuck_disk(scene):
    """A disk that does not answer while the process that has it is stopped: that process."""
    scene.disk("good")
    image = scene.disk("bad")
    backing = image.with_suffix(".backing")
    image.rename(backing)
    holder = scene.exported_file(image, backing)
    # No native AIO, whose submission would wait for it within QEMU.
    scene.disks["bad"] |= {"aio": "threads", "cache": "writeback"}
    for client in ("good", "bad"):
        scene.client(client)
        scene.gives(client, client)
    scene.up()
    return holder


@waits
def case_stopped_while_stuck(scene):
    """a VM is stopped while its disk is stuck for 12 s: the queue ends where it really stands, and nothing is lost or done late"""
    holder = stuck_disk(scene)
    good, bad = scene.connect("good"), scene.connect("bad")
    ring = bad.rings[0]
    ring.works()
    good.rings[0].works()
    holder.send_signal(signal.SIGSTOP)
    fill(ring, 20)
    time.sleep(0.5)
    # As QEMU does it when its VM is stopped: it waits for the answer as long as it takes.
    bad.socket.settimeout(60)
    began = time.monotonic()
    bad.send(GET_VRING_BASE, bytes(8))
    while time.monotonic() < began + 12:
        good.rings[0].works(requests=2)
        time.sleep(0.2)
    assert not ring.done(), "a stuck disk has returned something"
    holder.send_signal(signal.SIGCONT)
    base = int.from_bytes(bad.receive(GET_VRING_BASE)[4:8], "little")
    print(f"GET_VRING_BASE answered {base} after {time.monotonic() - began:.1f} s")
    after = ring.done()
    # Nothing reaches the client's memory any more, and the base counts what was returned.
    taken = ring.produced - len(ring.open)
    assert base == taken, f"the base is {base}, but {taken} requests were returned"
    used = ring.window.get(ring.used, 6 + 8 * ring.size)
    time.sleep(1)
    assert ring.window.get(ring.used, 6 + 8 * ring.size) == used, "requests were returned after the queue was ended"
    assert all(done.status == OK for done in after)
    # The VM goes on.
    bad.start(ring, base)
    if ring.open:
        ring.kick()
        assert all(done.status == OK for done in ring.wait(len(ring.open)))
    ring.works()
    scene.down()


def case_killed_while_stuck(scene):
    """a client is killed while its disk is stuck: the other is served meanwhile, and the killed one when the disk is back"""
    holder = stuck_disk(scene)
    good = scene.connect("good").rings[0]
    window = scene.window("bad")
    bad = scene.connect("bad", window=window)
    bad.rings[0].works()
    holder.send_signal(signal.SIGSTOP)
    fill(bad.rings[0], 20)
    time.sleep(0.3)
    bad.close()
    good.works()
    holder.send_signal(signal.SIGCONT)
    window.begin_anew()
    scene.connect("bad", window=window).rings[0].works()
    good.works()
    scene.down()


def case_reset_with_requests(scene):
    """a guest resets its disk in the middle of its work, again and again, and starts where it wants to"""
    shared_disk(scene)
    steady = scene.connect("steady", size=512).rings[0]
    doomed = scene.connect("doomed", size=512)
    for _ in range(20):
        ring = doomed.rings[0]
        fill(steady, 100)
        fill(ring, 100)
        base = doomed.stop(0)
        ring.done()
        assert base == ring.produced - len(ring.open)
        ring.open.clear()
        ring.window.begin_anew()
        doomed.rings = []
        doomed.start(Ring(ring.window, 0, 512))
        assert all(done.status == OK for done in steady.wait(100))
    doomed.rings[0].works()
    assert doomed.rings[0].run(FLUSH).status == OK
    scene.down()


def case_report_is_heard_out(scene):
    """an appliance that has failed takes its time over the crash report: its VM is not ended before, and `up` gives the report"""
    scene.appliance["qemu"] = failing_qemu.__file__
    scene.start()
    assert not scene.ready() and scene.daemon.returncode == 1
    scene.daemon = None
    log = scene.log()
    # It has ended by itself.
    assert "QEMU ended (exit status: 1)" in log, log
    report = failing_qemu.REPORT
    assert all(line in log for line in report[:report.index("last log records:")]), log
    assert report[-1] in (scene.run / "console.log").read_text(), "the console has not the end of it"
