"""A client that libvirt runs, and that has nothing to boot from but its disk."""
import re
import secrets
import shutil
import subprocess

from fixture import vm
from fixture.common import CLIENT, ROOT, TARGET, Skipped, until
from fixture.libvirt import Libvirt

QEMU = TARGET / "ipl-qemu/qemu-system-s390x"
SCRIPTS = ROOT / "tests/ipl/client"
LIMIT = 120  # seconds for an IPL, with all that has to be read by firmware under TCG


def case_ipl(scene):
    """a domain of libvirt's IPLs from its disk, finds there what was put down, outlives the appliance, is destroyed, and IPLs again"""
    if not QEMU.exists():
        raise Skipped("there is no QEMU 11 or newer; tests/ipl/qemu.sh says why")
    scene.disk("system", "128M")
    scene.client("linux", "512M")
    scene.gives("linux", "system")
    scene.up()
    libvirt = Libvirt(scene)
    token = secrets.token_hex(8)
    make_bootable(scene, token)
    libvirt.define_ipl("linux", 512, QEMU)
    assert "<kernel>" not in libvirt.do("dumpxml", "linux"), "the domain has a kernel that is not on its disk"
    ipls(libvirt, token, 1)
    scene.kill_appliance()
    scene.serving()
    # Two more: the first one may have been read before the kill.
    looks = last_look(libvirt)
    until("the domain reads on", lambda: last_look(libvirt) > looks + 1, LIMIT, pause=0.2)
    libvirt.do("destroy", "linux")
    ipls(libvirt, token, 2)
    libvirt.do("destroy", "linux")
    scene.down()


def make_bootable(scene, token):
    """The disk is made one to IPL from, where such a thing is made: in a stock client that has it. The token is on the disk only."""
    folder = scene.directory / "boot"
    (folder / "boot").mkdir(parents=True)
    shutil.copy(CLIENT / "vmlinuz", folder / "boot/vmlinuz")
    shutil.copy(vm.initrd(scene.directory, "from-disk", SCRIPTS / "from-disk.sh"), folder / "boot/initrd")
    archive = scene.directory / "boot.cpio"
    with archive.open("wb") as file:
        subprocess.run(["cpio", "--create", "--format=newc", "--quiet"], input=b"boot\nboot/vmlinuz\nboot/initrd\n", stdout=file, cwd=folder,
                       check=True)
    maker = scene.boot("linux", SCRIPTS / "zipl.sh", archives=[CLIENT / "zipl.cpio", archive], token=token)
    maker.passes(LIMIT)


def ipls(libvirt, token, count):
    """The domain is started, and is IPLed from the disk and it is the count-th time; it finds what is there."""
    libvirt.start("linux")
    libvirt.says(f"MARK IPL from the disk by zipl's words {token}", LIMIT)
    libvirt.says(f"MARK IPL {count}, look 2", LIMIT)


def last_look(libvirt):
    """How often the domain has found all as it was."""
    said = libvirt.console.read_text(errors="replace")
    assert "RESULT fail" not in said, said[-500:]
    return max((int(number) for number in re.findall(r"MARK IPL \d+, look (\d+)", said)), default=0)
