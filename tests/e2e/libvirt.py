"""A client that libvirt runs, by plain XML."""
from fixture import vm
from fixture.common import until
from fixture.libvirt import Libvirt
from fixture.scene import CLIENT_SCRIPTS


def case_libvirt(scene):
    """a domain of libvirt's, with nothing in its XML but what libvirt knows, is served, destroyed under load, and started again"""
    scene.disk("data", "48M")
    # More than the domain has: it is the most that it may have.
    scene.client("linux", "512M")
    scene.gives("linux", "data")
    scene.up()
    libvirt = Libvirt(scene)
    ram_disk = vm.initrd(scene.directory, "linux", CLIENT_SCRIPTS / "doomed.sh")
    libvirt.define("linux", ram_disk, 256)
    libvirt.start("linux")
    libvirt.says("MARK under load")
    libvirt.do("destroy", "linux")
    # What was laid for it is taken back, and the next domain has memory of its own.
    libvirt.start("linux")
    libvirt.says("MARK under load")
    scene.kill_appliance()
    scene.serving()
    libvirt.do("destroy", "linux")
    libvirt.do("undefine", "linux")
    verify = vm.initrd(scene.directory, "linux", CLIENT_SCRIPTS / "doomed-again.sh")
    libvirt.define("linux", verify, 256)
    libvirt.start("linux")
    libvirt.says("RESULT pass")
    until("the domain is off", lambda: libvirt.state("linux") == "shut off", pause=0.2)
    scene.down()
