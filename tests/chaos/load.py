"""A stock client whose load verifies itself (tests/load), and what it says of it."""
import os
import re
from pathlib import Path
from typing import NamedTuple

from fixture.common import LOAD, until
from fixture.qmp import qmp


class Report(NamedTuple):
    """A line of the load's: see tests/load/src/disks.rs."""
    epoch: int
    since: int
    requests: int
    longest: int  # µs


LINE = re.compile(r"^LOAD epoch=(\d+) since=(\d+) requests=(\d+) longest=(\d+) flushed=([\d,]+)$")


class Load:
    """A client that works, in one life after the other."""

    def __init__(self, scene, client):
        self.scene, self.client = scene, client
        self.life, self.flushed = 0, "-"
        self.errors, self.differences, self.reconnects = 0, 0, 0
        self.boot()

    def boot(self):
        """Its VM starts. What its last life has flushed is what this one has to find."""
        self.life += 1
        self.at, self.begun, self.last, self.reports, self.connections = 0, False, None, [], None
        self.monitor = self.scene.run / f"{self.client}.monitor"
        self.vm = self.scene.boot(self.client, "load", "-qmp", f"unix:{self.monitor},server=on,wait=off", archives=(LOAD,),
                                  life=self.life, flushed=self.flushed)

    def works(self):
        """Waits until it has found what was there, and works."""
        until(f"{self.client} works", lambda: self.look() and self.begun, 120, pause=0.1)
        self.connections = self.connected()
        self.take()

    def kill(self):
        """Its VM is gone from one instant to the other."""
        self.vm.kill_at_once()
        self.look(ended=True)

    def stop(self):
        """It is asked to power down, compares all, and is off."""
        qmp(self.monitor, "system_powerdown")
        self.vm.passes(180)
        self.look(ended=True)

    # ---- what it says ----

    def look(self, ended=False):
        """Reads what it has said since; the last report. Fails when something is wrong with it."""
        with self.vm.log.open("rb") as log:
            log.seek(self.at)
            new = log.read()
        whole = new[:new.rfind(b"\n") + 1]
        self.at += len(whole)
        for line in whole.decode(errors="replace").replace("\r", "").splitlines():
            self.hear(line)
        assert not self.errors and not self.differences, self.vm.trouble("has found something wrong")
        assert ended or self.vm.poll() is None, self.vm.trouble("has ended")
        return self.last

    def hear(self, line):
        """One line."""
        report = LINE.match(line)
        if report:
            *numbers, self.flushed = report.groups()
            self.last = Report(*map(int, numbers))
            self.reports.append(self.last)
        self.begun |= line.startswith("MARK under load")
        self.errors += bool(re.search("^ERROR|I/O error|^RESULT fail", line))
        self.differences += line.startswith("DIFFERENCE")

    def wrong(self):
        """Errors, differences and reconnects in all its lives."""
        return self.errors, self.differences, self.reconnects

    def take(self):
        """The longest request of the reports that were not taken yet, in ms."""
        longest = max((report.longest for report in self.reports), default=0) / 1000
        self.reports = []
        return longest

    # ---- its connections ----

    def connected(self):
        """The open sockets of its QEMU."""
        found = set()
        for fd in Path(f"/proc/{self.vm.pid}/fd").iterdir():
            try:
                found.add(os.readlink(fd))
            except OSError:
                pass  # closed meanwhile
        return {name for name in found if name.startswith("socket:")}

    def count_reconnects(self):
        """Counts the sockets that are gone since the last look: none, if its QEMU has not connected anew."""
        before, self.connections = self.connections, self.connected()
        self.reconnects += len(before - self.connections)
