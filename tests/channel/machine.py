"""What the cases of this directory have in common: an appliance with a terminal, a client that is the image, and the host's commands."""
import json
import re

from fixture.common import PROGRAM, ROOT, until
from fixture.qmp import qmp

PEER = ROOT / "tests/guest/peer.py"
TERMINAL = "0.0.3270"
CLIENT, HOST = "client", "host"  # who owns the terminal
SECONDS_TO_SEE = 10  # for what is seen soon, or not at all


class Machine:
    """The daemon with two subchannels: the terminal 0.0.3270, which is the client's (as 0.0.1000) or the host's, and the virtio device
    0.0.0300, which nobody gets. What the client "bare" is given as 0.0.1002 never comes. (QEMU plugs no other device than virtio ones
    in while it runs; what becomes of such a device is shown by the unit tests of event loop and proxy.)"""

    def __init__(self, scene, owner, peer="terminal"):
        self.scene = scene
        scene.disk("data", "1M")
        scene.subchannel("balloon", "0300", qemu="virtio-balloon-ccw")
        scene.terminal()
        scene.subchannel("never", "0400", plugged=True)
        scene.client("bare", "16M")
        scene.passes("bare", "never", "1002")
        if owner == CLIENT:
            scene.passes("bare", "terminal", "1000")
        scene.qemu_arguments("-qmp", f"unix:{scene.run}/qmp,server=on,wait=off")
        scene.up()
        scene.spawn("peer", "python3", PEER, peer, scene.run / "terminal")
        if owner == HOST:
            # What the terminal says when it gets connected would be pending later on.
            self.until_schib("the terminal is connected", lambda scsw: scsw["device_status"] == ["device end"])

    # ---- the client ----

    def client_passes(self, test):
        """Boots the client; all its tests pass. The VM, as it was."""
        client = self.scene.boot_tests("bare", test)
        client.left(60)
        # What led to a failure is in the trace.
        (self.scene.directory / "trace").write_text(self.host("trace", "--once"))
        client.all_passed(0)
        return client

    def victim(self, passed):
        """Boots the client, and kills it when so many of its tests have passed."""
        victim = self.scene.boot_tests("bare", "channel")
        victim.until_says("^PASS", 30, passed)
        victim.kill_at_once()

    # ---- the host ----

    def host(self, command, *arguments):
        """What a command of the host's says; it succeeds."""
        code, said = self.scene.command(command, *arguments)
        assert code == 0, f"{command} {arguments}: {said}"
        return said

    def says(self, pattern, command, *arguments):
        """The same, and a line of it matches."""
        said = self.host(command, *arguments)
        assert re.search(pattern, said, re.M), f"{command} {arguments} does not say {pattern!r}: {said}"

    def refused(self, pattern, command, *arguments):
        """The command fails, and says why: what it says."""
        code, said = self.scene.command(command, *arguments)
        assert code, f"{command} {arguments} is done: {said}"
        assert re.search(pattern, said, re.M), f"{command} {arguments} does not say {pattern!r}: {said}"
        return said

    def json(self, command, *arguments):
        """What a command of the host's says to programs."""
        return json.loads(self.host(command, *arguments, "--json"))

    def until_schib(self, what, condition):
        """Waits until the terminal's SCSW is so."""
        until(what, lambda: condition(self.json("schib", TERMINAL)["scsw"]), SECONDS_TO_SEE, pause=0.05)

    def until_listed(self, pattern, wanted=True):
        """Waits until lscss shows a device, or does not."""
        until(f"listed: {wanted}: {pattern}", lambda: bool(re.search(pattern, self.host("lscss"), re.M)) == wanted, SECONDS_TO_SEE, pause=0.1)

    def until_restarted(self, restarts):
        """Waits until the appliance has been started again so often, and serves."""
        def served():
            appliance = self.scene.status()["appliance"]
            return (appliance["restarts"], appliance["life"]) == (restarts, "serving")

        until(f"it serves after {restarts} restarts", served, 30, pause=0.1)

    def suspending_program(self, *options):
        """A program that is to be suspended before its only CCW, in the background."""
        return self.scene.spawn("program", PROGRAM, "ccw", self.scene.config, TERMINAL, "--json", "--suspend", "--no-prefetch", *options,
                                "e422000700000000")

    def suspended_program(self):
        """The same, and it is suspended."""
        program = self.suspending_program()
        self.until_schib("the program is suspended", lambda scsw: scsw["activity"] == ["suspended"])
        return program

    # ---- an administrator at the running appliance ----

    def plug(self, number, driver):
        """A new device."""
        qmp(self.scene.run / "qmp", "device_add", driver=driver, id=f"d{number}", devno=f"fe.0.{number}")

    def unplug(self, number):
        """It is gone."""
        qmp(self.scene.run / "qmp", "device_del", id=f"d{number}")


def ended(program, status, pattern):
    """A program in the background has ended with that status, and says so."""
    program.ends(20, status)
    assert program.says(pattern), program.trouble(f"does not say {pattern!r}")
