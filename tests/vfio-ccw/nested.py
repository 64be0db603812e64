"""The image on a vfio-ccw, in a machine within a machine."""
import re
from pathlib import Path

from fixture.common import CLIENT, ROOT, TARGET
from guest.peer import Typist

PATIENCE = 300  # seconds for one machine: three machines, each of them emulated by the one below
# The devices that are given away.
TERMINAL, RNG, SERIAL = "3270", "1111", "2222"
# Where files are laid over the image's memory.
WINDOW = "0x1000000"


def start(scene, test, devices, **words):
    """The image begins to run its own test on these devices; further words are for l1.sh. The middle machine, and the terminal's
    socket."""
    scene.client("middle", "512M")
    socket = scene.run / "terminal"
    middle = scene.boot(
        "middle", Path(__file__).with_name("l1.sh"),
        "-chardev", f"socket,id=terminal,path={socket},server=on,wait=off,tn3270=on",
        "-device", f"x-terminal3270,chardev=terminal,devno=fe.0.{TERMINAL}",
        "-device", f"virtio-rng-ccw,devno=fe.0.{RNG}", "-device", f"virtio-serial-ccw,devno=fe.0.{SERIAL}",
        archives=(CLIENT / "vfio-ccw.cpio", TARGET / "vfio-ccw/ours.cpio"),
        disk_wait=0, selftest=test, devices=",".join(devices), **words)
    return middle, socket


def passes(middle):
    """The image's tests have passed, and the middle machine has ended."""
    middle.passes(PATIENCE)
    (ran,) = re.findall(r"^MARK running$.*^MARK ended", middle.text(), re.M | re.S)
    assert re.search(r"^[1-9][0-9]* passed, 0 failed", ran, re.M), middle.trouble("has not said that the image's tests have passed")
    assert middle.says("^MARK ended 0$"), middle.says("^MARK")
    complaints = middle.says(r"^dmesg\| .*(BUG|WARNING|Oops)")
    assert not complaints, complaints


def image(scene, test, devices, **words):
    """The image runs its own test on these devices, while somebody presses a key when asked. The middle machine, which has ended."""
    middle, socket = start(scene, test, devices, **words)
    scene.spawn("peer", "python3", ROOT / "tests/guest/peer.py", "terminal", socket)
    passes(middle)
    return middle


def case_direct(scene):
    """condition codes, programs, halt, clear and interruptions; a terminal's attention"""
    image(scene, "css", (TERMINAL, RNG, SERIAL))


def case_client(scene):
    """the same for a client: over state machine and translation of the appliance"""
    image(scene, "proxy", (TERMINAL, RNG, SERIAL))


def case_killed(scene):
    """what a machine that is killed at work leaves behind is brought to rest, and the next one finds all in order"""
    middle = image(scene, "proxy", (TERMINAL, RNG), runs=3)
    assert len(middle.says("^MARK killed after [1-9]")) == 2, middle.says("^MARK")


def case_laid(scene):
    """programs reach the file that is laid over the VM's memory when they start, with CCWs, IDAWs and data, both ways"""
    middle, socket = start(scene, "laid", (TERMINAL,), window=WINDOW)
    terminal, before = Typist(socket), set()
    for number in (1, 2):
        for exchange in range(4):
            middle.until_says(f"^TYPE {number} {exchange}$", PATIENCE)
            written = terminal.written() + terminal.written()
            assert len(written) == 900 and written not in before, (number, exchange, written)
            before.add(written)
            terminal.types(written)
    passes(middle)
    looked = middle.says("^MARK file [12] has what the device wrote into it, and was touched nowhere else$")
    assert len(looked) == 2 and middle.says("^MARK the VM's own memory below was never touched$"), middle.says("^MARK")
