#!/usr/bin/env python3
"""Boots the image on Hercules, up to a disabled wait.

    hercules.py IMAGE-DIR SCENE-DIR [--append LINE] [--dasd OPTIONS] [--volume FILE]... [--ipl DEVICE]
                [--type 'REGEX=>TEXT']... [--patience SECONDS]

IMAGE-DIR has stellwerk.bin and ipl-psw.bin. There are two 3390 at 0A80 and 0A81, or the volumes that are named, from
0A80 on: FILE.3390, FILE.3370, and so on by their type. IPL is list-directed, or from the volume at DEVICE. What is to be typed
is typed once, when a line matches; before the IPL for HHCPN995E, when the volumes are attached. The console is printed, then
`hercules: disabled wait CODE`.

Hercules is driven by its panel commands on standard input and ended by "quit"; when that does not help, by a
signal to the process started here. Exit status: 0 for a disabled wait, whatever its code, 3 for none in time.
"""
import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

# Hercules 3.13 executes code for newer machines wrongly; the page shows brackets as they are.
CONFIGURATION = """\
ARCHMODE  z/Arch
CPUMODEL  2827
CPUSERIAL 002623
MAINSIZE  64
XPNDSIZE  0
NUMCPU    1
MAXCPU    1
OSTAILOR  QUIET
LOGOPT    NOTIMESTAMP
CODEPAGE  819/500
DIAG8CMD  DISABLE
TIMERINT  50
HERCPRIO  0
CPUPRIO   0
DEVPRIO   0
TODPRIO   0
"""
INS = """\
ipl-psw.bin 0x00000000
stellwerk.bin 0x00010000
command-line.bin 0x00010480
"""
# What the panel says of itself, several times a second.
PANEL = re.compile(r"(SYS|STATUS|MAN|LOAD|CP|MIPS|SIOS|PSW|GR|CR|AR|FPR|DEV[A-Z]?|MAINSTOR|MAINSIZE)[=!]|\]!")
# The panel looks for a start-up file that is not there; then it takes commands.
READY = "HHCPN995E"
DISABLED_WAIT = "HHCCP011I"


def prepare(images, scene, line, options, volumes):
    scene.mkdir(parents=True, exist_ok=True)
    for name in ("stellwerk.bin", "ipl-psw.bin"):
        shutil.copyfile(images / name, scene / name)
    (scene / "command-line.bin").write_bytes(line.encode("ascii") + b"\0")
    (scene / "image.ins").write_text(INS)
    if not volumes:
        volumes = ["one.3390", "two.3390"]
        for name, volume in zip(volumes, ("TEST01", "TEST02")):
            (scene / name).unlink(missing_ok=True)
            subprocess.run(
                ["dasdinit", "-z", name, "3390-1", volume], cwd=scene, check=True, capture_output=True
            )
    lines = (
        f"{0xA80 + index:04X} {Path(name).suffix[1:]} {name} {options}\n" for index, name in enumerate(volumes)
    )
    (scene / "hercules.cnf").write_text(CONFIGURATION + "".join(lines))


class Hercules:
    """A running Hercules: lines out, commands in."""

    def __init__(self, scene):
        self.process = subprocess.Popen(
            ["hercules", "-f", "hercules.cnf", "EXTERNALGUI"],
            cwd=scene,
            env=dict(os.environ, HERCULES_RC="/nonexistent"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode("latin-1").rstrip("\r\n"))
        self.lines.put(None)

    def line(self, end):
        """The next line; None when there is none any more, or no time."""
        try:
            return self.lines.get(timeout=max(0, end - time.monotonic()))
        except queue.Empty:
            return None

    def command(self, text):
        self.process.stdin.write(text.encode("latin-1") + b"\n")
        self.process.stdin.flush()

    def end(self):
        # Compressed volumes are written back now. A channel program that never ends can keep it from ending in order.
        try:
            self.command("quit")
            self.process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


def run(hercules, ipl, rules, patience):
    """Boots, types, prints; the code of the disabled wait, or None."""
    end = time.monotonic() + patience
    started = waits = False
    while (line := hercules.line(end)) is not None:
        if PANEL.match(line):
            continue
        if started:
            print(line, flush=True)
        for rule in [rule for rule in rules if rule[0].search(line)]:
            rules.remove(rule)
            hercules.command(rule[1])
        if not started and READY in line:
            started = True
            hercules.command(f"ipl {ipl}")
        waits = waits or DISABLED_WAIT in line
        psw = re.search(r"PSW=\w{8} \w{8} (\w{16})", line)
        if waits and psw:
            return int(psw[1], 16)
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--append", default="")
    parser.add_argument("--dasd", default="")
    parser.add_argument("--volume", action="append", default=[])
    parser.add_argument("--ipl", default="image.ins")
    parser.add_argument("--patience", type=float, default=30)
    parser.add_argument("--type", action="append", default=[])
    arguments = parser.parse_args()
    rules = []
    for rule in arguments.type:
        pattern, text = rule.split("=>", 1)
        rules.append((re.compile(pattern), text))
    prepare(arguments.images, arguments.scene, arguments.append, arguments.dasd, arguments.volume)
    hercules = Hercules(arguments.scene)
    try:
        code = run(hercules, arguments.ipl, rules, arguments.patience)
    finally:
        hercules.end()
    if code is None:
        sys.exit(3)
    print(f"hercules: disabled wait {code:X}")


main()
