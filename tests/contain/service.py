"""A daemon that runs, as the commands of its program and its pool show it, and what a test does to its appliance."""
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from area import BEGUN, UNDER_WAY, Area, ChannelClient
from front import LIMIT, Disk, Refused, Window, until

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAM = TARGET / "release/stellwerk"
IMAGE = TARGET / "image/stellwerk.elf"
LINKED_IMAGE = TARGET / "s390x-unknown-none-softfloat/appliance/stellwerk-appliance"


def stopped(pid):
    """Whether every thread of a process is stopped."""
    states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]
    return set(states) == {"T"}


class Service:
    """Whoever serves by a configuration."""

    def __init__(self, config):
        self.config = Path(config)
        self.killed = 0

    # ---- what is said about it ----

    def command(self, command, *arguments, seconds=LIMIT):
        """A command of the program's: its exit status, and what it said."""
        done = subprocess.run([PROGRAM, command, self.config, *arguments], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False)
        return done.returncode, done.stdout

    def status(self):
        """`stellwerk status --json`."""
        code, said_ = self.command("status", "--json")
        assert code == 0, said_
        return json.loads(said_)

    def condition(self, kind, name):
        """State and reason of one of the `disks` or `clients`, or of a client's first disk (`exports`)."""
        (found,) = (it for it in self.status()["disks" if kind == "disks" else "clients"] if it["name"] == name)
        if kind == "exports":
            found = found["disks"][0]
        return found["state"], found["reason"]

    def fails(self, kind, name):
        """Waits until the status says that this one has failed, and gives the reason."""
        def failed():
            state, reason = self.condition(kind, name)
            return reason if state == "failed" else None

        return until(f"the status says that {name} has failed", failed, pause=0.1)

    def recovers(self, kind, name):
        """Waits until the status says that this one is online."""
        until(f"the status says that {name} is online", lambda: self.condition(kind, name)[0] == "online", pause=0.1)

    # ---- the appliance ----

    def kill_appliance(self):
        """Its QEMU is gone from one instant to the other; the process id that it had."""
        self.killed = self.serving()
        os.kill(self.killed, signal.SIGKILL)
        return self.killed

    def serving(self):
        """Waits until the appliance serves, another one than was killed; the process id of its QEMU."""
        def pid():
            appliance = self.status()["appliance"]
            return appliance["life"] == "serving" and appliance["pid"] not in (0, self.killed) and appliance["pid"]

        return until("the appliance serves", pid, 90)

    def kill_in_flight(self, least, seconds=1):
        """Kills the appliance at an instant at which so many requests are in flight, if there is one within the time; how
        many there were at its end."""
        pid, areas = self.serving(), self.areas()
        end = time.monotonic() + seconds
        while True:
            # Stopped, it changes nothing any more, and what it has taken can be counted.
            os.kill(pid, signal.SIGSTOP)
            until("it has stopped", lambda: stopped(pid), pause=0)
            count = sum(area.in_flight() for area in areas)
            if count >= least or time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                self.killed = pid
                return count
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.002)

    def kill_within(self, ask):
        """Kills the appliance while it carries out a request, which `ask` stores."""
        pid, status = self.serving(), self.status()
        end = min(it["window_offset"] for it in status["clients"])
        (control,) = Area.in_pool(status["daemon"]["pool"], end, kind=1)

        def is_under_way():
            return control.word(UNDER_WAY, 0, 0) == BEGUN

        def killed():
            ask()
            for _ in range(100_000):
                if is_under_way():
                    break
            os.kill(pid, signal.SIGSTOP)
            until("it has stopped", lambda: stopped(pid), pause=0)
            if is_under_way():
                os.kill(pid, signal.SIGKILL)
                self.killed = pid
                return True
            os.kill(pid, signal.SIGCONT)
            return False

        until("the appliance is killed within a request", killed)

    def restart_appliance(self, meanwhile=None):
        """Kills it, and waits until the next one serves."""
        self.kill_appliance()
        if meanwhile:
            meanwhile()
        self.serving()

    def break_function(self, name):
        """Puts an invalid operation code where a function of the appliance begins that was not executed in this life: QEMU would
        go on with what it has translated."""
        symbols = subprocess.run(["s390x-linux-gnu-nm", "-C", LINKED_IMAGE], capture_output=True, text=True, check=True).stdout
        (address,) = (int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(name))
        # The pool begins with the appliance's private memory.
        with open(self.status()["daemon"]["pool"], "r+b") as pool:
            pool.seek(address)
            pool.write(bytes(2))

    # ---- the clients ----

    def window(self, client):
        """The memory of a client."""
        code, arguments = self.command("client-args", client)
        assert code == 0, arguments
        return Window(arguments)

    def connect(self, client, number=0, window=None, **ring):
        """A client's disk with one started queue. Refused, it tries again for a while, as a VM's QEMU does."""
        window = window or self.window(client)
        free = window.free
        refused = None

        def connected():
            nonlocal refused
            window.free = free
            try:
                return Disk(window, number).open(**ring)
            except Refused as error:
                refused = error
                return None

        try:
            return until(f"client {client} is connected", connected, pause=0.2)
        except AssertionError as late:
            raise late from refused

    def channel_client(self, client):
        """A client that drives its area itself, with its link open."""
        return ChannelClient(self.window(client))

    def areas(self):
        """The areas of the clients with disks, in their order, as they stand in the pool."""
        status = self.status()
        return Area.in_pool(status["daemon"]["pool"], min(it["window_offset"] for it in status["clients"]))
