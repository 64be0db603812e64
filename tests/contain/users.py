"""Daemon, clients and the appliance's QEMU as different users, and what each of them has given up."""
import ctypes
import os
import socket
from pathlib import Path

from fixture.common import PROGRAM, Skipped
from fixture.front import Disk
from fixture.users import is_well, needs_users, start_as

LANDLOCK_CREATE_RULESET = 444  # asked for its version
DAEMON, CLIENT, GROUP = 64322, 64323, 64324  # nobody else's
# What root's daemon keeps: CHOWN, DAC_OVERRIDE, FOWNER, IPC_LOCK.
KEPT = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 14

ABSTRACT = f"\0stellwerk-{os.getpid()}"

# In QEMU's place, before it: whatever it tries must fail.
TRIES = """#!/usr/bin/env python3
import ctypes, os, signal, socket, sys

def outside():
    os.open({outside!r}, os.O_CREAT | os.O_WRONLY)

def network():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))

def abstract():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect({abstract!r})

def done(result):
    if result:
        raise OSError(ctypes.get_errno(), "refused")

libc = ctypes.CDLL(None, use_errno=True)
tries = {{
    "make a file": outside, "remove a file": lambda: os.unlink({image!r}), "use the network": network, "use an abstract socket": abstract,
    "signal the daemon": lambda: os.kill(os.getppid(), 0), "trace the daemon": lambda: done(libc.ptrace(16, os.getppid(), 0, 0)),
    "open the daemon's memory": lambda: os.open(f"/proc/{{os.getppid()}}/mem", os.O_RDWR),
    "open what the daemon has open": lambda: os.open(f"/proc/{{os.getppid()}}/fd/0", os.O_RDONLY),
    "mount": lambda: done(libc.mount(b"none", {place!r}.encode(), b"tmpfs", 0, None)),
}}
# It is also asked for its version, which is no start of a VM.
for what, attempt in tries.items() if "-machine" in sys.argv else ():
    try:
        attempt()
        print(f"it may: {{what}}", file=sys.stderr, flush=True)
    except OSError:
        pass
print("all tried", *sys.argv[1:2], file=sys.stderr, flush=True)
os.execvp("qemu-system-s390x", ["qemu-system-s390x", *sys.argv[1:]])
"""


def about(pid):
    """What the system says of a process."""
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def has_given_up(pid, kept):
    """Whether a process has no other capabilities, and can get none."""
    status = about(pid)
    return status["NoNewPrivs"] == "1" and not int(status["CapPrm"], 16) & ~kept


def case_without_root(scene):
    """the daemon and the appliance's QEMU as an ordinary user, a client as another one, a daemon that dies: nothing needs root"""
    needs_users(scene.run, PROGRAM)
    image = scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")
    scene.clients["a"]["group"] = str(GROUP)
    scene.write_config()
    for path, mode in ((scene.run, 0o700), (image, 0o600), (scene.config, 0o600)):
        os.chown(path, DAEMON, DAEMON)
        path.chmod(mode)
    scene.start_daemon(["setpriv", f"--reuid={DAEMON}", f"--regid={DAEMON}", f"--groups={GROUP}", PROGRAM, "up", scene.config])
    assert scene.ready()
    for pid in (scene.daemon_pid(), scene.keeper_pid(), scene.serving()):
        assert about(pid)["Uid"].split() == [str(DAEMON)] * 4 and int(about(pid)["CapEff"], 16) == 0
    window = scene.window("a")
    done = os.eventfd(0, os.EFD_NONBLOCK)
    says, serves = os.pipe()

    def client():
        disk = Disk(window).open()
        os.write(serves, b"!")
        # Until the test is done: what is written is read back, over one connection.
        while True:
            disk.rings[0].works()
            try:
                return os.eventfd_read(done) == 1
            except BlockingIOError:
                pass

    pid = start_as(CLIENT, GROUP, client)
    os.close(serves)
    assert os.read(says, 1), "the client is not served"
    for _ in range(3):
        scene.kill_daemon()
    scene.restart_appliance()
    os.eventfd_write(done, 1)
    assert is_well(pid), "what the client wrote is not what it has read"
    assert has_given_up(scene.daemon_pid(), 0)
    scene.down()


def case_given_up(scene):
    """what root's daemon does not need it has given up, and QEMU reaches no other process, no network, and makes no file"""
    needs_users()
    if ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, 0, 0, 1) < 6:
        raise Skipped("this system has no Landlock, or one that does not know of signals")
    image = scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(ABSTRACT)
    listener.listen()
    program = scene.directory / "qemu"
    program.write_text(TRIES.format(outside=str(scene.directory / "made"), image=str(image), abstract=ABSTRACT,
                                    place=str(scene.directory)))
    program.chmod(0o755)
    scene.appliance["qemu"] = str(program)
    scene.up()
    scene.connect("a").rings[0].works()
    old, new = scene.kill_daemon()
    assert old != new
    scene.restart_appliance()
    for pid in (scene.daemon_pid(), scene.serving()):
        assert has_given_up(pid, KEPT), about(pid)
    assert scene.log().count("all tried -machine") == 2 and "it may: " not in scene.log()
    scene.down()
