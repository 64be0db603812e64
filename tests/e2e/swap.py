"""A stock Linux whose memory lies on a served disk."""
import time

from fixture.common import LOAD
from fixture.qmp import qmp

MIB = 64


def swapped(linux):
    """KiB that were on the disk at the end of each round through the memory, as the client's load says (tests/load)."""
    return [int(line.partition("swapped=")[2]) for line in linux.says("^ROUND")]


def case_swap(scene):
    """a client that swaps on its disk finds its pages right over ten deaths of the appliance, each with requests in flight"""
    scene.disk("data", "256M")
    scene.client("linux", "80M")
    scene.gives("linux", "data")
    scene.up()
    monitor = scene.run / "linux.monitor"
    linux = scene.boot("linux", "swap", "-qmp", f"unix:{monitor},server=on,wait=off", archives=(LOAD,), size=MIB)
    linux.until_says("^ROUND 1 ", 90)
    for kill in range(10):
        time.sleep(1.5)
        count = scene.kill_in_flight(1, seconds=20)
        print(f"kill {kill + 1}: {count} requests were in flight, {len(swapped(linux))} rounds")
        assert count > 0, f"kill {kill + 1} met no request"
    # The next but one has compared what was written after the last death.
    linux.until_says("^ROUND", 120, len(swapped(linux)) + 3)
    qmp(monitor, "system_powerdown")
    linux.passes(120)
    assert min(swapped(linux)) > MIB * 1024 // 8, swapped(linux)
    scene.down()
