"""What scripts/run-qemu.sh does when all is built: demo.py check|interactive [QEMU-ARGUMENT…].

The scene is that of the tests: see tests/fixture/scene.py. BACKEND says who serves, as there.
"""
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from fixture import vm
from fixture.backends import BACKENDS
from fixture.common import PROGRAM, TARGET
from fixture.scene import SECTOR

FILES = 32  # that the client writes when it checks, besides one of random bytes
SECONDS = 180  # for the client


def step(what):
    """For the reader."""
    print(f"==> {what}", flush=True)


def serve(scene, arguments):
    """The client has the disk, and whoever serves it is up."""
    scene.client("linux", "256M")
    scene.gives("linux", "data")
    if arguments:
        scene.qemu_arguments(*arguments)
    step(f"starting {scene.backend}")
    scene.up()


def interactive(scene, arguments):
    """The client with its console on this terminal. Its disk stays from one run to the next."""
    image = scene.directory / "data.img"
    if image.exists():
        scene.old_disk("data")
    else:
        scene.disk("data", "256M")
    serve(scene, arguments)
    print(f"""
    Stellwerk is up and serves {image}.

    the appliance's console   tail -f {scene.run}/console.log
    its state                 {PROGRAM} status {scene.config}
    the daemon's log          {scene.log_file}

    Now the client boots; its disk is /dev/vda. To try it:
        mkfs.ext4 -F /dev/vda && mount -t ext4 /dev/vda /mnt
    Leave with "poweroff -f" or Ctrl-A X; then Stellwerk is stopped, too.
""", flush=True)
    command = vm.linux(scene.arguments("linux"), vm.initrd(scene.directory, "linux"), {})
    subprocess.run([*command, *vm.CONSOLE_ON_TERMINAL], check=False)
    step(f"stopping {scene.backend}")
    scene.down(15)


def check(scene, arguments):
    """The client partitions, formats, writes, reads back and sums up; then the host looks. What is there to say of it."""
    scene.disk("data", "256M")
    serve(scene, arguments)
    step("starting the client")
    seed = random.randrange(1 << 15)
    linux = scene.boot("linux", "demo", seed=seed, files=FILES)
    follow(linux)
    linux.passes(1)
    if scene.backend == "stellwerk":
        _, said = scene.command("status")
        print("".join(f"    {line}\n" for line in said.splitlines()), end="", flush=True)
    step(f"the client is off; stopping {scene.backend}")
    scene.down(15)
    step("comparing with what the host sees in the image")
    return compare(scene, linux, seed)


def follow(linux):
    """Shows what the client says, as it says it, until it is off."""
    end = time.monotonic() + SECONDS
    shown = 0
    running = True
    while running and time.monotonic() < end:
        running = linux.poll() is None
        whole = linux.text().rpartition("\n")[0].splitlines()
        for line in whole[shown:]:
            if line.startswith("MARK up"):
                line = line.replace("MARK up", "client: up,", 1)
            if line.startswith("client: "):
                print(f"    {line}", flush=True)
        shown = len(whole)
        time.sleep(0.1)


def grown(seed, number):
    """The file that the client has grown from the same seed; see tests/e2e/client/demo.sh."""
    first = seed * 1000 + number
    text = "".join(f"{line}\n" for line in range(first, first + 60001)).encode()
    return text[:number * number * 700 + number]


def digest(data):
    """Its SHA-256."""
    return hashlib.sha256(data).hexdigest()


def files_in_image(scene):
    """The folder with what the host's own tools find in the image's partition."""
    place, image = scene.directory, scene.directory / "data.img"
    found = subprocess.run(["partx", "--noheadings", "--raw", "--output", "START,SECTORS", image], capture_output=True, text=True, check=False)
    assert found.stdout.strip(), "the image has no partition"
    start, sectors = map(int, found.stdout.splitlines()[0].split())
    partition, files = place / "partition.img", place / "files"
    partition.unlink(missing_ok=True)
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    subprocess.run(["dd", f"if={image}", f"of={partition}", f"bs={SECTOR}", f"skip={start}", f"count={sectors}", "conv=sparse",
                    "status=none"], check=True)
    with (place / "e2fsck.log").open("wb") as log:
        checked = subprocess.run(["e2fsck", "-fn", partition], stdout=log, stderr=log, check=False)
        assert checked.returncode == 0, f"the file system is damaged, see {log.name}"
    with (place / "debugfs.log").open("wb") as log:
        subprocess.run(["debugfs", "-R", f"rdump / {files}", partition], stdout=log, stderr=log, check=True)
    return files


def compare(scene, linux, seed):
    """The client's sums, the files in the image, and, where the seed tells them, the files as they should be."""
    files = files_in_image(scene)
    differences = []
    for name in [f"file-{number}" for number in range(1, FILES + 1)] + ["random"]:
        theirs, file = linux.sum(name), files / name
        ours = digest(file.read_bytes()) if file.exists() else None
        want = ours if name == "random" else digest(grown(seed, int(name.removeprefix("file-"))))
        if not theirs == ours == want or ours is None:
            differences.append(f"{name}: the client read {theirs}, the host sees {ours}, it should be {want}")
    assert not differences, "\n".join(differences)
    mebibytes = subprocess.run(["du", "-sm", files], capture_output=True, text=True, check=True).stdout.split()[0]
    return f"{FILES + 1} files, {mebibytes} MiB: the client's checksums and the image on the host agree"


def main(mode, *arguments):
    """What the command line says."""
    # Ended from outside, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    name = os.environ.get("BACKEND", "stellwerk")
    kind = BACKENDS.get(name) or sys.exit(f"run-qemu.sh: no such back end: {name}")
    # The disk of the shell stays from one run to the next; the check begins with a new one each time.
    try:
        with kind(TARGET / "demo" / ("check" if mode == "check" else "")) as scene:
            if mode == "interactive":
                interactive(scene, arguments)
            else:
                summary = check(scene, arguments)
    except AssertionError as wrong:
        sys.exit(f"run-qemu.sh: {wrong}")
    if mode == "check":
        print(f"run-qemu: passed: {summary}")


main(*sys.argv[1:])
