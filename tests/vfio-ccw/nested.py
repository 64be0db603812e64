"""The image on a vfio-ccw, in a machine within a machine."""
import re
from pathlib import Path

from fixture.common import CLIENT, ROOT, TARGET

PATIENCE = 300  # seconds for one machine: three machines, each of them emulated by the one below
# The devices that are given away.
TERMINAL, RNG, SERIAL = "3270", "1111", "2222"


def image(scene, test, devices, **words):
    """The image runs its own test on these devices; further words are for l1.sh. The middle machine, which has ended."""
    scene.client("middle", "512M")
    socket = scene.run / "terminal"
    middle = scene.boot(
        "middle", Path(__file__).with_name("l1.sh"),
        "-chardev", f"socket,id=terminal,path={socket},server=on,wait=off,tn3270=on",
        "-device", f"x-terminal3270,chardev=terminal,devno=fe.0.{TERMINAL}",
        "-device", f"virtio-rng-ccw,devno=fe.0.{RNG}", "-device", f"virtio-serial-ccw,devno=fe.0.{SERIAL}",
        archives=(CLIENT / "vfio-ccw.cpio", TARGET / "vfio-ccw/image.cpio"),
        disk_wait=0, selftest=test, devices=",".join(devices), **words)
    scene.spawn("peer", "python3", ROOT / "tests/guest/peer.py", "terminal", socket)
    middle.passes(PATIENCE)
    (ran,) = re.findall(r"^MARK running$.*^MARK ended", middle.text(), re.M | re.S)
    assert re.search(r"^[1-9][0-9]* passed, 0 failed", ran, re.M), middle.trouble("has not said that the image's tests have passed")
    assert middle.says("^MARK ended 0$"), middle.says("^MARK")
    complaints = middle.says(r"^dmesg\| .*(BUG|WARNING|Oops)")
    assert not complaints, complaints
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
