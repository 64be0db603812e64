"""Clients of a disk share it by weights, and can be limited."""
import time

from contain.endings import fill
from fixture.front import OK, READ

# Sectors of each client.
PART = 16384


def parts_of_a_slow_disk(scene, clients):
    """A disk that is slow, and does not answer, as it is told, and the ring of each client of it."""
    disk = scene.hanging_disk("data")
    scene.disks["data"] |= {"aio": "threads", "cache": "writeback"}
    for number, client in enumerate(clients):
        scene.gives(client, "data", start=number * PART, size=PART)
    scene.up()
    return [disk] + [scene.connect(client, size=512).rings[0] for client in clients]


def keep_busy(ring):
    """Lets another request follow each that has ended: how many those are."""
    done = ring.done()
    for one in done:
        assert one.status == OK, one
        ring.start(READ, 0, 4096)
    if done:
        ring.kick()
    return len(done)


def latencies(modest, greedy, count):
    """How long requests take one after the other, sorted; and how many of a greedy client's, all of which are followed by others, end
    while each is open, sorted too."""
    taken, others, meanwhile = [], [], 0
    modest.start(READ, 8, 4096)
    modest.kick()
    since = time.monotonic()
    while len(taken) < count:
        meanwhile += keep_busy(greedy)
        if modest.done():
            now = time.monotonic()
            taken.append(now - since)
            others.append(meanwhile)
            meanwhile = 0
            modest.start(READ, 8, 4096)
            modest.kick()
            since = now
        time.sleep(0.0002)
    modest.wait(1)
    return sorted(taken), sorted(others)


def case_greedy_beside_modest(scene):
    """128 requests open beside one at a time, on a disk that does one after the other: the modest client waits for one of the other's"""
    disk, modest, greedy = parts_of_a_slow_disk(scene, ("modest", "greedy"))
    disk.slowness = 0.01
    alone, _ = latencies(modest, greedy, 50)
    fill(greedy, 128, READ)
    latencies(modest, greedy, 30)
    beside, others = latencies(modest, greedy, 100)
    print(
        f"alone {alone[25] * 1000:.1f} ms, beside a greedy one {beside[50] * 1000:.1f} ms, {beside[50] / alone[25]:.2f} times that, "
        f"longest {beside[-1] * 1000:.1f} ms; it waits for {others[50]} of the greedy one's, for {others[-1]} at most, {sum(others)} in all"
    )
    # Times are only told: this machine may have something else to do.
    assert others[50] <= 1, others
    assert sum(others) >= 50, others
    disk.slowness = 0
    greedy.wait(len(greedy.open))
    scene.down()


def case_limited(scene):
    """a client that may do 50 requests a second, and 10 at once, does no more, and one that is not limited does not wait for it"""
    scene.disk("data", "64M")
    scene.gives("limited", "data", size=65536, iops=50, iops_burst=10)
    scene.gives("free", "data", start=65536, weight=1)
    scene.up()
    limited, free = (scene.connect(client, size=512).rings[0] for client in ("limited", "free"))
    disks = {client["name"]: client["disks"][0] for client in scene.status()["clients"]}
    assert (disks["limited"]["iops"], disks["limited"]["iops_burst"], disks["limited"]["weight"]) == (50, 10, 100), disks
    assert (disks["free"]["iops"], disks["free"]["weight"]) == (None, 1), disks
    before = time.monotonic()
    fill(limited, 110, READ)
    free.works(16384, requests=8)
    beside = 110 - len(limited.done())
    limited.wait(beside)
    took = time.monotonic() - before
    # The clock says at most that it was too fast.
    print(f"110 requests in {took:.2f} s, {beside} of them after 16 of the other's")
    assert took > 1.9 and beside > 0, (took, beside)
    disks = {client["name"]: client["disks"][0]["held_back"] for client in scene.status()["clients"]}
    assert disks["limited"]["limits_ms"] > 1000 and disks["free"]["limits_ms"] == 0, disks
    scene.down()


def case_junk_is_limited(scene):
    """a client that may do 50 requests a second, and 10 at once, gets no more of them answered if the disk never sees them"""
    scene.disk("data", "64M")
    scene.gives("limited", "data", iops=50, iops_burst=10)
    scene.up()
    limited = scene.connect("limited", size=512).rings[0]
    before = time.monotonic()
    for _ in range(110):
        limited.start(READ, 1 << 40, 4096)
    limited.kick()
    assert all(done.status != OK for done in limited.wait(110))
    took = time.monotonic() - before
    print(f"110 wrong requests in {took:.2f} s")
    assert took > 1.9, took
    scene.down()
