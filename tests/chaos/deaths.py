"""Daemon, keeper, appliance and clients die at random, while three stock clients write, read and compare."""
import os
import random
import signal
import statistics
import time
from datetime import datetime, timezone

from chaos.load import Load
from fixture.common import Skipped, until
from fixture.service import stopped

DEATHS = int(os.environ.get("CHAOS_DEATHS", "30"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))

DISK = 32768  # sectors of each slice
# The slices that each client has: of which disk, and from where on.
CLIENTS = {"one": [("raw", 0)], "two": [("qcow2", 0)], "three": [("raw", DISK), ("qcow2", DISK)]}
# Operations a second. So slow that requests always wait for the disk.
SPEED = 500
# Seconds, at random: from one death to the next, and how long the appliance does not run when it is only stopped.
BETWEEN, STOPPED = (0.1, 0.6), (0.1, 1.5)


class Chaos:
    """The scene, those who work in it, and what kills whom. What kills gives the number of requests that were in flight."""

    def __init__(self, scene, chance):
        self.scene, self.chance = scene, chance
        self.loads = [Load(scene, client) for client in scene.clients]
        self.areas = scene.areas()
        self.killed = None

    def wrong(self):
        """Errors, differences and reconnects so far."""
        return [sum(column) for column in zip(*(load.wrong() for load in self.loads))]

    def in_flight(self):
        """Requests that the appliance has taken and not returned."""
        return sum(area.in_flight() for area in self.areas)

    def stop(self):
        """Stops the appliance's QEMU: its process id, and what is in flight now that nothing changes any more."""
        pid = self.scene.serving()
        os.kill(pid, signal.SIGSTOP)
        until("it has stopped", lambda: stopped(pid), pause=0)
        return pid, self.in_flight()

    def kill_appliance(self):
        """The appliance's QEMU is gone from one instant to the other."""
        self.scene.killed, count = self.stop()
        os.kill(self.scene.killed, signal.SIGKILL)
        return count

    def hang_appliance(self):
        """The appliance's QEMU does not run any more."""
        self.scene.killed, count = self.stop()
        return count

    def pause_appliance(self):
        """The appliance's QEMU does not run for a while."""
        pid, count = self.stop()
        time.sleep(self.chance.uniform(*STOPPED))
        os.kill(pid, signal.SIGCONT)
        return count

    def kill_daemon(self):
        """The daemon is gone from one instant to the other."""
        count = self.in_flight()
        os.kill(self.scene.daemon_pid(), signal.SIGKILL)
        return count

    def kill_keeper(self):
        """What starts another daemon is gone from one instant to the other."""
        count = self.in_flight()
        os.kill(self.scene.keeper_pid(), signal.SIGKILL)
        return count

    def kill_both(self):
        """Daemon and appliance are gone at once, whichever is the first."""
        self.scene.killed, count = self.stop()
        both = [self.scene.killed, self.scene.daemon_pid()]
        self.chance.shuffle(both)
        for pid in both:
            os.kill(pid, signal.SIGKILL)
        return count

    def kill_client(self):
        """A client's QEMU is gone from one instant to the other, and is started again."""
        self.killed = self.chance.choice(self.loads)
        count = self.in_flight()
        self.killed.kill()
        return count


# What dies, and how often each is chosen: some take long.
KINDS = {
    "appliance": (Chaos.kill_appliance, 1),
    "daemon": (Chaos.kill_daemon, 1),
    "keeper": (Chaos.kill_keeper, 0.5),
    "daemon and appliance": (Chaos.kill_both, 1),
    "appliance, stopped for a while": (Chaos.pause_appliance, 0.5),
    "appliance, stopped for good": (Chaos.hang_appliance, 0.3),
    "client": (Chaos.kill_client, 0.3),
}


class Counts:
    """What is counted for each kind of death."""

    def __init__(self):
        self.in_flight, self.longest, self.wrong = ({kind: [] for kind in KINDS} for _ in range(3))
        self.calm = []

    def add_wrong(self, kind, before, after):
        """What went wrong at one death, by the counts before and after it."""
        self.wrong[kind].append([new - old for old, new in zip(before, after)])

    def table(self):
        """For the reader, and for docs/performance.md."""
        yield "| what dies | deaths | in flight: least, median, most | errors | differences | reconnects | longest request, ms: median, most |"
        yield "|---|---|---|---|---|---|---|"
        for kind in KINDS:
            yield self.row(kind, self.in_flight[kind], self.wrong[kind], self.longest[kind])
        yield self.row("all", *(sum(column.values(), []) for column in (self.in_flight, self.wrong, self.longest)))
        yield f"| nothing | | | | | | {figures(self.calm)} |"

    @staticmethod
    def row(kind, in_flight, wrong, longest):
        """One kind's."""
        wrong = " | ".join(str(sum(column)) for column in zip(*wrong)) or "| |"
        return f"| {kind} | {len(longest)} | {figures(in_flight, min)} | {wrong} | {figures(longest)} |"


def figures(values, *more):
    """The median of some and the most, after `more` of that kind."""
    return ", ".join(f"{function(values):.0f}" for function in (*more, statistics.median, max)) if values else ""


def kinds_of_deaths(chance, number):
    """So many, in random order; each kind is among them, if there are enough."""
    once = list(KINDS)
    chance.shuffle(once)
    others = chance.choices(list(KINDS), [weight for _, weight in KINDS.values()], k=max(0, number - len(once)))
    return [*once, *others][:number]


def set_up(scene):
    """Three clients on two slow disks: one on the raw one, one on the qcow2 one, and one on both."""
    for name in ("raw", "qcow2"):
        try:
            scene.hanging_disk(name, "32M", name, SPEED, aio="threads")
        except Skipped as why:
            print(f"the disk {name} is a fast one: {why}")
            scene.disk(name, "32M", name)
    for client, slices in CLIENTS.items():
        scene.client(client, "128M")
        for disk, start in slices:
            scene.gives(client, disk, start=start, size=DISK)
    scene.up()


def die(chaos, kind, counts):
    """One death, until every request that was started before it has ended."""
    time.sleep(chaos.chance.uniform(*BETWEEN))
    # The next report's epoch may have begun before the death.
    marks = [load.look().epoch + 2 for load in chaos.loads]
    counts.calm.append(max(load.take() for load in chaos.loads))
    chaos.killed = None
    before = chaos.wrong()
    try:
        kill, _ = KINDS[kind]
        count = kill(chaos)
        others = [(load, mark) for load, mark in zip(chaos.loads, marks) if load is not chaos.killed]
        until("all that was under way has ended", lambda: all([load.look().since > mark for load, mark in others]), 90, pause=0.05)
        longest = max(load.take() for load, _ in others)
        for load, _ in others:
            load.count_reconnects()
        until("the daemon answers", lambda: chaos.scene.command("status")[0] == 0)
        if chaos.killed:
            chaos.killed.boot()
            chaos.killed.works()
    finally:
        counts.add_wrong(kind, before, chaos.wrong())
    counts.in_flight[kind].append(count)
    counts.longest[kind].append(longest)
    return count, longest


def case_deaths(scene):
    """whatever dies, at random: no error, no difference, and nobody connects anew but who was killed"""
    print(f"{DEATHS} deaths, seed {SEED}")
    counts = Counts()
    set_up(scene)
    chaos = Chaos(scene, random.Random(SEED))
    try:
        for load in chaos.loads:
            load.works()
        for number, kind in enumerate(kinds_of_deaths(chaos.chance, DEATHS), 1):
            count, longest = die(chaos, kind, counts)
            print(f"{datetime.now(timezone.utc):%H:%M:%S} {number}: {kind}, {count} requests in flight, longest {longest:.0f} ms")
        for load in chaos.loads:
            load.stop()
    finally:
        print(f"TABLE {DEATHS} deaths, seed {SEED}")
        for line in counts.table():
            print(f"TABLE {line}")
    scene.down()
    for load in chaos.loads:
        for device, (disk, start) in zip(("vda", "vdb"), CLIENTS[load.client]):
            scene.agrees(load.vm, device, disk, start, DISK)
