"""Daemons of two versions, one after the other."""
import os
from pathlib import Path

from contain.successors import Load
from contain.upgrades import own_program, replace, upgrade
from fixture.common import PROGRAM, Skipped

FILES = ("stellwerk", "libstellwerk_overlay.so")


def case_there_and_back(scene):
    """a daemon of an earlier version is replaced by the present one, and that by it, five times under load: nothing ends, nothing fails,
    and the appliance does not notice"""
    earlier = os.environ.get("STELLWERK_EARLIER_PROGRAM")
    if not earlier:
        raise Skipped("there is no earlier version; tests/versions/run.sh says why")
    versions = [{file: (program.parent / file).read_bytes() for file in FILES} for program in (Path(earlier), PROGRAM)]
    assert versions[0]["stellwerk"] != versions[1]["stellwerk"]
    scene.disk("data", "64M")
    scene.client("steady")
    scene.gives("steady", "data")
    program = own_program(scene, Path(earlier))
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    alone, appliance, longest = load.since(), scene.serving(), 0
    for number in range(10):
        for file, content in versions[1 - number % 2].items():
            replace(program.parent / file, content)
        before = scene.daemon_pid()
        upgrade(scene, "--daemon")
        after = scene.daemon_pid()
        assert after != before and Path(f"/proc/{after}/exe").read_bytes() == versions[1 - number % 2]["stellwerk"]
        longest = max(longest, load.since())
        assert not steady.closed(0)
    assert scene.serving() == appliance and "the daemon has died" not in scene.log()
    print(f"the longest pair of requests: {longest * 1000:.1f} ms; {alone * 1000:.1f} ms before")
    load.end()
    steady.close()
    scene.down()
