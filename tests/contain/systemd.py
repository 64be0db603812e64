"""systemd as whoever starts the daemon, and keeps for the next one what this one has open."""
import json
import os
import subprocess
from pathlib import Path

from contain.successors import Load
from fixture.common import PROGRAM, ROOT, Skipped, until

SYSTEMD = next((path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(path)), None)
# A machine that has nothing but this service: its own processes, its own /run, its own control groups.
MACHINE = """\
mount --make-rprivate / && mount -t tmpfs run /run && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 77
container=stellwerk SYSTEMD_UNIT_PATH={units} exec {systemd} --system --log-target=console --show-status=no --unit=stellwerk.service
"""


def unit(scene):
    """The unit that docs/how-to.md says, for this configuration and in a machine that has nothing else."""
    lines = (ROOT / "docs/how-to.md").read_text().splitlines()
    begin = lines.index("    # /etc/systemd/system/stellwerk.service")
    lines = [line.strip() for line in lines[begin:lines.index("", begin)]]
    at = lines.index("ExecStart=/usr/local/bin/stellwerk up /etc/stellwerk/site.toml")
    lines[at:at + 1] = [f"ExecStart={PROGRAM} up {scene.config}", f"StandardOutput=append:{scene.log_file}",
                        f"StandardError=append:{scene.log_file}"]
    lines.insert(lines.index("[Unit]") + 1, "DefaultDependencies=no")
    return "\n".join(lines) + "\n"


class Machine:
    """One that systemd runs, in namespaces of its own."""

    def __init__(self, scene):
        if SYSTEMD is None or os.geteuid():
            raise Skipped("this needs systemd, and root")
        units = scene.directory / "units"
        units.mkdir()
        (units / "stellwerk.service").write_text(unit(scene))
        machine = MACHINE.format(units=units, systemd=SYSTEMD)
        self.unshare = scene.spawn("systemd", "unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc", "--cgroup",
                                   "--mount-proc", "sh", "-c", machine)
        until("systemd runs", self.runs)

    def runs(self):
        """Whether systemd answers; or it cannot be had here."""
        if self.unshare.poll() is not None:
            raise Skipped("systemd does not run in namespaces here")
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children").read_text().split()
        self.init = children and children[0]
        return self.init and not self.control("show", "--property=Version").returncode

    def control(self, *words):
        """systemctl(1), there."""
        return subprocess.run(["nsenter", "--target", self.init, "--mount", "--pid", "systemctl", *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=60)

    def does(self, *words):
        """The same, and it has to work; what is said."""
        done = self.control(*words)
        assert done.returncode == 0, done
        return done.stdout.strip()


def case_under_systemd(scene):
    """systemd starts the daemon and keeps what it has open: it is killed, reloaded and exchanged, and no connection ends"""
    scene.disk("data", "64M")
    scene.client("steady")
    # Two disks of one VM: the same memory is handed over twice.
    scene.disk("other")
    scene.gives("steady", "data", size=65536)
    scene.gives("steady", "other")
    scene.write_config()
    machine = Machine(scene)
    until("the daemon is ready", lambda: "\nready" in "\n" + scene.log(), 90)
    kept = until("something is kept", lambda: int(machine.does("show", "--value", "--property=NFileDescriptorStore", "stellwerk")))
    steady = scene.connect("steady")
    second = scene.connect("steady", number=1, window=steady.window)
    load = Load(steady.rings[0])
    appliance = scene.serving()
    for order in [["kill", "--signal=KILL", "--kill-who=main"]] * 3 + [["reload"]]:
        before = scene.daemon_pid()
        if order == ["reload"]:
            scene.client("newcomer")
            scene.gives("newcomer", "data", start=65536)
            scene.write_config()
        machine.does(*order, "stellwerk")
        until("another daemon serves", lambda: serves(scene, before))
        load.since()
        second.rings[0].works()
        assert not steady.closed(0) and not second.closed(0) and scene.serving() == appliance, order
    newcomer = scene.connect("newcomer")
    newcomer.rings[0].works()
    newcomer.close()
    code, said = scene.command("upgrade")
    assert code == 0, said
    load.since()
    assert not steady.closed(0)
    assert int(machine.does("show", "--value", "--property=NFileDescriptorStore", "stellwerk")) < kept + 40
    load.end()
    steady.close()
    machine.does("stop", "stellwerk")
    assert machine.does("show", "--value", "--property=Result", "stellwerk") == "success"
    machine.unshare.kill()
    machine.unshare.wait()


def serves(scene, before):
    """Whether another daemon serves."""
    code, said = scene.command("status", "--json")
    return code == 0 and json.loads(said)["daemon"]["pid"] not in (0, before)
