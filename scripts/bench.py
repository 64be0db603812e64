"""What scripts/bench.sh measures when all is built; see its head for the words of the command line and what comes out.

The scene is that of the tests: see tests/fixture/scene.py.
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from fixture.backends import BACKENDS
from fixture.common import IMAGE, ROOT, TARGET, TEST_IMAGE

OUT = TARGET / "bench"
PATTERNS = ("randread-4k", "randwrite-4k", "read-128k", "write-128k")
DEPTHS = ("1", "32")
RATIO = "randread-4k"


class Sample(NamedTuple):
    """What one round has shown of one pattern."""
    target: str
    pattern: str
    depth: str
    round: int
    iops: float


def step(what):
    """For the reader."""
    print(f"==> bench: {what}", flush=True)


def scene_of(target):
    """The client with its disk, served by this target. All serve one image, which is full of random bytes, so that no read is
    short of a block, and small enough to stay in the host's memory."""
    scene = BACKENDS[target](OUT)
    # As the other targets are given it.
    scene.old_disk("data", cache="writeback", aio="threads")
    scene.client("linux", "256M")
    scene.gives("linux", "data")
    return scene


# ---- the rounds ---------------------------------------------------------------------------------------------------

def one_round(number, target, seconds):
    """Boots the client on a target and runs all patterns in it."""
    with scene_of(target) as scene:
        scene.up()
        linux = scene.boot("linux", "bench", seconds=seconds)
        linux.passes(120 + 16 * (seconds + 3))
        scene.down(15)
        words = [line.split() for line in linux.says("^IOPS ")]
        return [Sample(target, pattern, depth, number, float(iops)) for _, pattern, depth, iops in words]


def all_rounds(targets, rounds, seconds):
    """Each round begins with another target."""
    samples = []
    for number in range(1, rounds + 1):
        for place in range(len(targets)):
            target = targets[(place + number) % len(targets)]
            step(f"round {number} of {rounds}, {target}")
            samples += one_round(number, target, seconds)
    return samples


# ---- the other numbers --------------------------------------------------------------------------------------------

def image_bytes():
    """What has to be loaded: the file sizes of the loadable segments."""
    said = subprocess.run(["readelf", "-lW", IMAGE], capture_output=True, text=True, check=True).stdout
    return sum(int(line.split()[4], 16) for line in said.splitlines() if line.split()[:1] == ["LOAD"])


def cpu_ticks(pid):
    """User and system time of a process and of those it started, in clock ticks."""
    total = 0
    children = [word for tasks in Path(f"/proc/{pid}/task").glob("*/children") for word in tasks.read_text().split()]
    for process in (pid, *children):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def idle_and_status():
    """With a client that has the disk and does nothing: the daemon and the appliance together, over ten seconds."""
    with scene_of("stellwerk") as scene:
        scene.up()
        linux = scene.boot("linux", "idle", seconds=14)
        linux.mark("idle")
        time.sleep(2)
        daemon = scene.daemon_pid()
        before = cpu_ticks(daemon)
        time.sleep(10)
        ticks = cpu_ticks(daemon) - before
        appliance = scene.status()["appliance"]
        linux.passes(60)
        scene.down(15)
    return {"idle_cpu_percent": round(ticks / os.sysconf("SC_CLK_TCK") / 10 * 100, 1),
            "private_bytes": appliance.get("private_bytes"), "boot_ms": appliance.get("boot_ms")}


def numbers(log, pattern):
    """The numbers in the first line of a log that matches, or none."""
    found = re.search(pattern, log, re.M)
    return [int(number) for number in found.groups()] if found else None


def number(log, pattern):
    """The same for one number."""
    found = numbers(log, pattern)
    return found[0] if found else None


def instructions_per_read():
    """For each read one at a time, and with 32 at once: see tests/guest/insns.sh."""
    log = OUT / "read4k.log"
    log.unlink(missing_ok=True)
    subprocess.run([ROOT / "tests/guest/insns.sh", TEST_IMAGE, log], stdout=subprocess.DEVNULL, check=False)
    said = log.read_text() if log.exists() else ""
    return {"insns_per_read_4k": number(said, r"^bench: read4k depth=1 .*insns=(\d+)$"),
            "insns_per_read_4k_qd32": number(said, r"^bench: read4k depth=32 .*insns=(\d+)$")}


def image_counts(bench):
    """What the image alone says, counting instructions; see tests/image/src/bench.rs."""
    command = ["timeout", "60", "qemu-system-s390x", "-accel", "tcg", "-icount", "shift=1,sleep=off", "-rtc", "base=2026-01-01,clock=vm",
               "-seed", "1", "-m", "16M", "-nodefaults", "-nographic", "-no-reboot", "-action", "panic=exit-failure",
               "-chardev", "stdio,id=console", "-device", "sclpconsole,chardev=console", "-device", "virtio-rng-ccw",
               "-kernel", TEST_IMAGE, "-append", f"bench={bench}"]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    said = said.replace("\r", "")
    (OUT / f"{bench}.log").write_text(said)
    return said


def instructions_per_program():
    """For a channel program that is passed through: one CCW; and 64 CCWs with 256 address words. And for a trace record."""
    said = image_counts("proxy")
    counts = {f"insns_proxy_{ccws}ccw": number(said, rf"bench: proxy ccws={ccws} .*insns=(\d+)") for ccws in (1, 64)}
    return counts | {"insns_trace_record": number(said, r"^bench: trace .*insns=(\d+)$")}


def costs_of_eckd():
    """For each random read of a count-key-data disk; for sequential ones of 512 KiB, its starts and CCWs. See
    tests/image/src/bench/eckd.rs."""
    said = image_counts("eckd")
    long = numbers(said, r"^bench: eckd sequential bytes=(\d+) blocks=(\d+) starts=(\d+) ccws=(\d+)$")
    size, blocks, starts, ccws = long or (None,) * 4
    return {"insns_eckd_4k": number(said, r"^bench: eckd depth=1 .*insns=(\d+)$"),
            "starts_per_mib": long and round(starts / (size / (1 << 20)), 3), "ccws_per_block": long and round(ccws / blocks, 3)}


# ---- the results --------------------------------------------------------------------------------------------------

def ratio(samples, depth):
    """The median of the rounds' ratios to qemu-storage-daemon; none if one of the two was not measured."""
    def by_round(target):
        return {it.round: it.iops for it in samples if (it.target, it.pattern, it.depth) == (target, RATIO, depth)}

    ours, theirs = by_round("stellwerk"), by_round("qsd")
    found = [ours[number] / theirs[number] for number in ours if number in theirs]
    return round(median(found), 3) if found else None


def results(samples, values):
    """All that is said in JSON."""
    iops = {}
    for target, pattern, depth in sorted({(it.target, it.pattern, it.depth) for it in samples}):
        found = median(it.iops for it in samples if (it.target, it.pattern, it.depth) == (target, pattern, depth))
        iops.setdefault(target, {}).setdefault(pattern, {})[depth] = found
    return {"iops": iops, "ratio_vs_qsd_qd1": ratio(samples, "1"), "ratio_vs_qsd_qd32": ratio(samples, "32")} | values


def show(found):
    """The same for the reader."""
    targets = list(BACKENDS)
    print("4 KiB and 128 KiB, I/O operations per second (medians)")
    print("pattern       depth" + "".join(f"{target:>10}" for target in targets))
    for pattern in PATTERNS:
        for depth in DEPTHS:
            cells = (found["iops"].get(target, {}).get(pattern, {}).get(depth, "-") for target in targets)
            print(f"{pattern:14}{depth:>5}" + "".join(f"{cell if cell == '-' else format(cell, 'g'):>10}" for cell in cells))
    print()
    for key, value in found.items():
        if key != "iops":
            print(f"{key}: {json.dumps(value)}")


def main():
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="bench.sh", add_help=False)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--say-targets", action="store_true")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    arguments = parser.parse_intermixed_args()
    for target in arguments.targets:
        if target not in BACKENDS:
            parser.error(f"unknown argument {target}; see --help")
    targets = arguments.targets or list(BACKENDS)
    if arguments.say_targets:
        print(*targets)
        return
    # Ended from outside, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "data.img").write_bytes(os.urandom(256 << 20))
    values = {}
    if "stellwerk" in targets:
        step("image, memory, boot, instructions, idling")
        values["image_bytes"] = image_bytes()
        for measure in (instructions_per_read, instructions_per_program, costs_of_eckd, idle_and_status):
            values |= measure()
    found = results(all_rounds(targets, arguments.rounds, arguments.seconds), values)
    said = json.dumps(found, indent=2) + "\n"
    (OUT / "results.json").write_text(said)
    show(found)
    if arguments.json:
        arguments.json.write_text(said)


main()
