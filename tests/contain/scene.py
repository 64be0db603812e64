"""A scene: disks, clients and the daemon that serves the ones to the others. The words are those of scripts/scene.sh."""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from front import LIMIT, needs_fuse, until
from hanging import Hanging
from service import IMAGE, PROGRAM, Service


def said(value):
    """A value as TOML writes it."""
    return json.dumps(value)


class Scene(Service):
    """One configuration, and what runs by it. To be used by `with`: at its end nothing runs any more."""

    def __init__(self, directory):
        self.directory = Path(directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        # A socket's path has at most 107 characters.
        self.run = Path(tempfile.mkdtemp(prefix="stellwerk.", dir="/tmp"))
        self.appliance = {"image": str(IMAGE), "accel": "tcg", "run_dir": str(self.run), "pool": f"/dev/shm/{self.run.name}"}
        super().__init__(self.directory / "scene.toml")
        self.log_file = self.directory / "daemon.log"
        self.disks, self.clients, self.subchannels = {}, {}, {}
        self.daemon = None
        self.others, self.mounts, self.hanging = [], [], []

    # ---- what there is ----

    def disk(self, name, size="16M", image_format="raw", directory=None, **keys):
        """A new disk, with its image in `directory`; the image's path."""
        image = Path(directory or self.directory) / f"{name}.img"
        subprocess.run(["qemu-img", "create", "-q", "-f", image_format, image, size], check=True)
        self.disks[name] = {"image": str(image), "format": image_format} | keys
        return image

    def hanging_disk(self, name):
        """A new disk on a file system that can be told not to answer."""
        image = self.disk(name)
        place = self.directory / f"{name}.mount"
        place.mkdir()
        self.hanging.append(Hanging(place, image.name, image))
        self.disks[name]["image"] = str(place / image.name)
        return self.hanging[-1]

    def subchannel(self, name, device, qemu):
        """A device that QEMU emulates."""
        self.subchannels[name] = {"device": device, "qemu": qemu}

    def terminal(self, client=None):
        """A 3270 terminal with nobody at it, 0.0.3270: what a client may be given that is no virtio device."""
        self.appliance["qemu_args"] = ["-chardev", f"socket,id=terminal,path={self.run}/terminal,server=on,wait=off,tn3270=on"]
        self.subchannel("terminal", "0.0.3270", "x-terminal3270,chardev=terminal")
        if client:
            self.client(client, "16M")["subchannel"].append({"subchannel": "terminal"})

    def client(self, name, memory="64M"):
        """A new client."""
        return self.clients.setdefault(name, {"memory": memory, "disk": [], "subchannel": []})

    def gives(self, client, disk, **keys):
        """The client's next disk."""
        self.client(client)["disk"].append({"disk": disk} | keys)

    def small_file_system(self, name, size):
        """A file system of its own with so much room. The case runs in a mount namespace of its own."""
        place = self.directory / name
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", name, place], check=True)
        self.mounts.append(place)
        return place

    def exported_file(self, image, backing):
        """`image` becomes a file that has the content of `backing` and is served by a process, which can be stopped: that
        process."""
        needs_fuse()
        image.touch()
        holder = self.spawn("qemu-storage-daemon", "--blockdev", f"driver=file,node-name=f,filename={backing}",
                            "--export", f"fuse,id=e,node-name=f,mountpoint={image},writable=on")
        self.mounts.append(image)
        until("the file is mounted", lambda: os.path.getsize(image) or holder.poll() is not None)
        assert holder.poll() is None, "qemu-storage-daemon cannot export a file by FUSE here"
        return holder

    def write_config(self):
        """The configuration file."""
        lines = []

        def table(head, keys):
            lines.extend(["", head, *(f"{key} = {said(value)}" for key, value in keys.items())])

        table("[appliance]", self.appliance)
        for kind, things in (("disk", self.disks), ("subchannel", self.subchannels)):
            for name, keys in things.items():
                table(f"[[{kind}]]", {"name": name} | keys)
        for name, keys in self.clients.items():
            table("[[client]]", {"name": name, "memory": keys["memory"]})
            for kind in ("disk", "subchannel"):
                for given in keys[kind]:
                    table(f"[[client.{kind}]]", given)
        self.config.write_text("\n".join(lines) + "\n")

    # ---- the daemon ----

    def start(self, descriptors=None):
        """`stellwerk up` in the background; with a soft limit of so many descriptors."""
        self.write_config()

        def limits():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)

        with self.log_file.open("a") as log:
            self.daemon = subprocess.Popen(
                [PROGRAM, "up", self.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=limits)

    def ready(self):
        """Waits until the daemon says that it is ready, or has ended; whether it is ready."""
        until("the daemon is ready", lambda: re.search("^ready", self.log(), re.M) or self.daemon.poll() is not None, 90)
        return self.daemon.poll() is None

    def up(self, descriptors=None):
        """`stellwerk up`, and it is ready."""
        self.start(descriptors)
        assert self.ready(), f"the daemon has ended with status {self.daemon.returncode}"

    def down(self, seconds=LIMIT):
        """SIGTERM: the daemon ends, and in order."""
        self.daemon.terminate()
        try:
            status = self.daemon.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon did not end within {seconds} s of SIGTERM") from None
        self.daemon = None
        assert status == 0, f"the daemon ended with status {status}"

    def log(self):
        """What the daemon has said so far."""
        return self.log_file.read_text(errors="replace")

    # ---- others ----

    def spawn(self, *command, **options):
        """Another process, which ends with the scene."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        self.others.append(process)
        return process

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for file_system in self.hanging:
            file_system.go_on()
        if kind is not None and self.daemon:
            print(f"the end of the daemon's log ({self.log_file}):\n" + "\n".join(self.log().splitlines()[-12:]))
        for process in self.others:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        if self.daemon:
            self.daemon.terminate()
            try:
                self.daemon.wait(10)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        for file_system in self.hanging:
            file_system.end()
        for place in self.mounts:
            subprocess.run(["umount", "--lazy", place], check=False)
        Path(self.appliance["pool"]).unlink(missing_ok=True)
        shutil.rmtree(self.run, ignore_errors=True)
        if kind is None:
            shutil.rmtree(self.directory, ignore_errors=True)
