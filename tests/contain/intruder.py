"""What a client's QEMU that was taken over can reach: its own memory and its own sockets."""
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

from fixture.front import Disk, Refused
from fixture.users import needs_users, run_as

USER = 64321  # nobody else's
PTRACE_ATTACH = 16


def attempts(run, mine, pids, pool):
    """Everything that somebody may try who has nothing but a user, a group and their socket: each by its name, with what the system
    says to it; nothing if it lets them."""
    libc = ctypes.CDLL(None, use_errno=True)

    def attached(pid):
        if libc.ptrace(PTRACE_ATTACH, pid, 0, 0):
            raise OSError(ctypes.get_errno(), "ptrace")

    def connected(path):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(path))

    tries = {"list the run directory": lambda: os.listdir(run)}
    names = os.listdir(run) if os.access(run, os.R_OK) else ["console.log", "served", "control.sock", "b.0.sock", "no-firmware.bin"]
    known = [run / name for name in names]
    for path in known:
        if path.name != mine:
            tries[f"connect to {path.name}"] = lambda path=path: connected(path)
            tries[f"read {path.name}"] = lambda path=path: os.open(path, os.O_RDONLY)
            tries[f"write {path.name}"] = lambda path=path: os.open(path, os.O_WRONLY)
            tries[f"truncate {path.name}"] = lambda path=path: os.truncate(path, 0)
            tries[f"remove {path.name}"] = lambda path=path: os.unlink(path)
    tries["make a file in the run directory"] = lambda: os.open(run / "new", os.O_CREAT | os.O_WRONLY)
    for name, pid in pids.items():
        tries[f"kill the {name}"] = lambda pid=pid: os.kill(pid, signal.SIGKILL)
        tries[f"stop the {name}"] = lambda pid=pid: os.kill(pid, signal.SIGSTOP)
        tries[f"trace the {name}"] = lambda pid=pid: attached(pid)
        tries[f"list the descriptors of the {name}"] = lambda pid=pid: os.listdir(f"/proc/{pid}/fd")
        tries[f"open the memory of the {name}"] = lambda pid=pid: os.open(f"/proc/{pid}/mem", os.O_RDWR)
        for fd in range(3, 40):
            tries[f"open descriptor {fd} of the {name}"] = lambda pid=pid, fd=fd: os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR)
    tries["open the pool"] = lambda: os.open(pool, os.O_RDWR)
    said = {}
    for what, attempt in tries.items():
        try:
            attempt()
            said[what] = None
        except OSError as error:
            said[what] = error.strerror
    return said


def as_intruder(act):
    """Runs something in a process of that user's; whether it has said that it is well."""
    return run_as(USER, USER, act)


def case_intruder(scene):
    """a client's QEMU that was taken over, as a user of its own, reaches its own socket and nothing else, and floods nobody but itself"""
    needs_users(scene.run)
    for client in ("a", "b"):
        scene.disk(client)
        scene.client(client)
        scene.gives(client, client)
    scene.clients["a"]["group"] = str(USER)
    scene.up()
    good, window = scene.connect("b").rings[0], scene.window("a")
    good.works()
    status = scene.status()
    pids = {"daemon": status["daemon"]["pid"], "keeper": scene.keeper_pid(), "appliance's QEMU": status["appliance"]["pid"]}

    def tries():
        let = [what for what, error in attempts(scene.run, "a.0.sock", pids, status["daemon"]["pool"]).items() if error is None]
        for what in let:
            print(f"it may: {what}", file=sys.stderr, flush=True)
        return not let

    assert as_intruder(tries), "it may do what it must not (see above)"
    good.works()

    def floods():
        # Its own socket is served, and takes whatever it is given.
        disk = Disk(window).open()
        disk.rings[0].works()
        try:
            os.ftruncate(window.fd, 4096)
            return False
        except PermissionError:
            pass
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(disk.path)
        try:
            for _ in range(2000):
                disk.send(13, os.urandom(64), [disk.rings[0].call_fd] * 8)
        except Refused:
            pass
        disk.close()
        return True

    assert as_intruder(floods)
    good.works()
    assert len(scene.log()) < 64 << 10, "the log was flooded"
    assert scene.daemon_pid() == pids["daemon"] and scene.status()["appliance"]["restarts"] == 0
    scene.connect("a", window=window).rings[0].works()
    scene.down()


def case_sandbox(scene):
    """the appliance's QEMU may start no program, nor become somebody else; without `sandbox` it is as it was before"""
    scene.disk("data")
    scene.client("a")
    scene.gives("a", "data")

    def seccomp():
        text = Path(f"/proc/{scene.serving()}/status").read_text()
        return next(line.split()[1] for line in text.splitlines() if line.startswith("Seccomp:"))

    scene.up()
    assert seccomp() == "2"
    scene.connect("a").rings[0].works()
    scene.restart_appliance()
    assert seccomp() == "2"
    scene.down()
    scene.appliance["sandbox"] = False
    scene.log_file.write_text("")
    scene.up()
    assert seccomp() == "0"
    scene.down()
