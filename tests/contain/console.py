"""The operator's console, on both of QEMU's: what its commands say beside a client that works is what is true, and nobody is held up."""
import re
import socket
import time

from contain import console_qemu
from fixture.common import until
from fixture.front import OK, READ


class Operator:
    """Whoever sits at the console of a scene's appliance."""

    def __init__(self, scene):
        path = str(scene.run / "console.sock")
        self.socket = socket.socket(socket.AF_UNIX)
        until("the console is there", lambda: self.socket.connect_ex(path) == 0)
        self.socket.settimeout(0.1)
        self.text = ""

    def type(self, text):
        """Keys, as a terminal sends them."""
        self.socket.sendall(text.encode("ascii"))

    def reads(self):
        """All that has come so far."""
        try:
            self.text += self.socket.recv(65536).decode("ascii", errors="replace").replace("\r", "")
        except (TimeoutError, BlockingIOError):
            pass
        return self.text

    def waits_for(self, pattern, seconds=40):
        """Reads until there is something that matches; all up to its end is taken."""
        found = until(f"the console says {pattern}", lambda: re.search(pattern, self.reads(), re.M), seconds, pause=0)
        taken, self.text = self.text[:found.end()], self.text[found.end():]
        return taken

    def asks(self, command):
        """The lines of a command's answer, all of its pages. Another answer, which has to come behind it, says where it ends."""
        self.reads()
        self.text = ""
        self.type(f"{command}\n")
        # A line-mode console ends a line when it begins the next one.
        text = self.waits_for(r"STW\d{4}[IWE]")
        self.type("version\n")
        text += self.waits_for(r"STW0101I .* KiB")
        # That console also shows what is typed, behind whatever is there.
        lines = [line.removesuffix("version") for line in text.splitlines() if re.search(r"\S", line)]
        begin = next(number for number, line in enumerate(lines) if re.search(r"STW\d{4}[IWE]", line))
        answer = [line for line in lines[begin:] if "STW0101I" not in line and not line.startswith("stw> ")]
        assert all(len(line) <= 72 for line in answer), answer
        print("\n".join(answer))
        return answer


def beside_a_client(scene, is_line_mode):
    """A client on a disk that can hang, one disk that is not there, and somebody at the console."""
    if is_line_mode:
        (scene.run / "line-mode").touch()
    scene.appliance |= {"qemu": console_qemu.__file__, "hang_limit": "off"}
    scene.client("a")
    hanging = scene.hanging_disk("slow")
    scene.gives("a", "slow")
    scene.terminal("b")
    scene.up()
    return scene.connect("a").rings[0], hanging, Operator(scene)


def what_is_said_is_true(scene, is_line_mode):
    """Each command, and what the daemon knows of the same."""
    ring, hanging, operator = beside_a_client(scene, is_line_mode)
    ring.works(requests=20)
    status = scene.status()
    assert operator.asks("frobnicate") == ["STW0002E no command frobnicate; type help"]
    assert "STW0102I Serving" in operator.asks("status")[0]
    # What is owned: as the daemon has it.
    lines = operator.asks("devs")
    assert lines[0].endswith(f"{len(status['devices'])} devices"), lines
    for device in status["devices"]:
        (line,) = (line for line in lines if line.startswith(device["device"]))
        assert device["subchannel"] in line and f"{device['cu_type']}/{device['cu_model']}" in line, (device, line)
    disk = next(device for device in status["devices"] if device["disk"] == "slow")
    (line,) = (line for line in lines if line.startswith(disk["device"]))
    assert line.endswith("disk slow"), line
    lines = operator.asks(f"schib {disk['device']}")
    assert f"PIM {disk['pim']}" in lines[2] and f"device {disk['device'][-4:]}" in lines[1], lines
    # What was done: the console counts on until it is asked.
    counters = scene.status()["clients"][0]["disks"][0]["counters"]
    (line,) = (line for line in operator.asks("counters") if "reads" in line)
    assert f"{counters['reads']} reads, {counters['writes']} writes" in line, (line, counters)
    assert operator.asks("inflight")[0].endswith("0 requests")
    # Nothing is wrong; then the disk hangs, and that is all that is.
    assert "nothing looks wrong" in operator.asks("diag")[-1]
    hanging.hang()
    ring.start(READ, 0, length=4096)
    ring.kick()
    until("the disk is asked", lambda: hanging.asked)
    lines = operator.asks("inflight")
    assert lines[0].endswith("1 request") and re.search(r"read +4096 0$", lines[2]), lines
    (line,) = (line for line in operator.asks("queues") if re.match(r" +0 +0 +0 ", line))
    assert line.split()[5] == "1", line
    found = " ".join(" ".join(operator.asks("diag")).split())
    assert re.search(r"STW0205W client \d+, subchannel 0, queue 0 does not move: 1 in flight at disk slow", found), found
    hanging.go_on()
    assert ring.wait(1)[0].status == OK
    assert "nothing looks wrong" in operator.asks("diag")[-1]
    # What is the appliance's own is shown, and not more; what changes something is refused.
    assert operator.asks("mem 10008,8")[1].startswith("00010000 ")
    beyond = scene.status()["appliance"]["private_bytes"]
    assert operator.asks(f"mem {beyond:x}")[1].endswith("is not the appliance's own")
    assert "STW0005E" in operator.asks("log trace")[0]
    ring.works()
    scene.down()


def case_console_vt220(scene):
    """what the commands of the operator's console say is what is true, on a VT220"""
    what_is_said_is_true(scene, False)


def case_console_line_mode(scene):
    """the same on a line-mode console"""
    what_is_said_is_true(scene, True)


def case_console_noise(scene):
    """whatever is typed without end, a client is served"""
    ring, _, operator = beside_a_client(scene, False)
    keys = bytes(number * 167 % 256 for number in range(4096)) + b"help\n\n\nmem 0,1000\n\n\n\n\ntrace\ndiag\n\x1b[A\x1b[A\n" * 20
    operator.socket.setblocking(False)
    typed, sent, slowest = 0, 0, 0.0
    for _ in range(100):
        try:
            sent += operator.socket.send(keys[sent % len(keys):])
        except BlockingIOError:
            pass
        operator.reads()
        typed = max(typed, len(operator.text))
        began = time.monotonic()
        ring.works(requests=2)
        slowest = max(slowest, time.monotonic() - began)
    print(f"{sent} keys, {typed} bytes of answers; four requests took {slowest * 1000:.1f} ms at most")
    assert sent and typed
    ring.write(0, b"end".ljust(512))
    assert scene.status()["appliance"]["restarts"] == 0
    scene.down()
