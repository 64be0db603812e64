"""The host's own commands: lscss, ccw, schib, trace and their like, and what they say when they cannot."""
import re

from channel.machine import HOST, TERMINAL, Machine, ended


def case_host(scene):
    """lscss, ccw, schib and trace, and what they say when they cannot"""
    machine = Machine(scene, HOST)
    machine.says(r"^0\.0\.3270  0\.0\.....  0000/00  3270/00  yes  80   80   ff   [0-9a-f]{8} 00000000  host$", "lscss")
    machine.says(r"^0\.0\.0002 .* appliance$", "lscss")
    machine.says(r"^0\.0\.3270  .*  80   80   ff   80   [0-9a-f]{8} 00000000  good    host$", "lscss", "--vpm", "--avail")
    machine.says(r"^0\.[0-9a-f]{2}   1     -     -     -    -       -  ", "lschp")
    machine.says(r"^  Online                   \(LPM\)  : \+$", "lspaths", TERMINAL)
    assert machine.json("lspaths", TERMINAL)["pam"] == "80"
    sensed = machine.json("ccw", TERMINAL, "sense-id")
    assert sensed["data"][0]["bytes"].startswith("ff327000"), sensed
    assert sensed["irb"]["scsw"]["device_status"] == ["channel end", "device end"], sensed
    said = machine.host("ccw", TERMINAL, "nop", "nop", "sense-id")
    assert re.search(r"^CCW 2 \(e4\)", said, re.M) and re.search("0000  ff327000", said), said
    machine.says(r"^CCW 3 \(e4\): 7 bytes", "ccw", TERMINAL, "0360000100000000", "0800000000000018", "f320000100000000", "e420000700000000")
    said = machine.refused("ended with unit check", "ccw", TERMINAL, "write:F3:00")
    assert re.search("sense: +80", said), said
    machine.refused("program check", "ccw", TERMINAL, "0800000000000000")
    schib = machine.json("schib", TERMINAL)
    assert (schib["device"], schib["pim"]) == (TERMINAL, "80"), schib
    assert {"device number valid", "concurrent sense"} <= set(schib["flags"]), schib
    machine.refused("the appliance uses it itself", "schib", "0.0.0002")
    machine.refused(r"has no device 0\.0\.4711; it has 0\.0\.0002", "halt", "0.0.4711")
    machine.refused(r"resume 0\.0\.3270: busy \(cc 2\)", "resume", TERMINAL)
    machine.says(r"0\.0\.3270  host +start +cc 0  idle > busy", "trace", "--once")
    scene.down()


def case_disks(scene):
    """what is no DASD is not administered, and says so"""
    machine = Machine(scene, HOST)
    for command in (["reserve"], ["release"], ["steal", "--yes"], ["dasdview"], ["dasdfmt", "--yes"]):
        machine.refused('disk "data" is no DASD', *command, "data")
    machine.refused('"dta" is no disk of the configuration, nor a device that is free', "dasdview", "dta")
    machine.refused(r'0\.0\.0100 is disk "data".*name it "data"', "ccw", "0.0.0100", "nop")
    machine.refused("READ DEVICE CHARACTERISTICS: unit check, command reject, sense 80", "dasdview", TERMINAL)
    machine.refused('dasdfmt destroys everything on "data".*add --yes', "dasdfmt", "data")
    machine.refused("'xdl' for '--layout", "dasdfmt", "data", "--layout", "xdl")
    # It was not lent, and serves as before.
    assert [device["state"] for device in scene.status()["devices"] if device.get("disk") == "data"] == ["online"]
    scene.down()


def case_functions(scene):
    """a suspended program is resumed, halted, cleared, cancelled, or found to take too long"""
    machine = Machine(scene, HOST)
    machine.host("ccw", TERMINAL, "sense-id")
    program = machine.suspended_program()
    machine.refused("a program runs", "ccw", TERMINAL, "nop")
    machine.host("resume", TERMINAL)
    ended(program, 0, '"bytes": "ff3')
    program = machine.suspended_program()
    machine.host("halt", TERMINAL)
    ended(program, 1, "the program ended with .*halt")
    program = machine.suspended_program()
    machine.host("clear", TERMINAL)
    ended(program, 1, "the program ended with .*clear")
    program = machine.suspended_program()
    machine.host("cancel", TERMINAL)
    ended(program, 1, "the program was cancelled")
    ended(machine.suspending_program("--timeout", "1"), 1, "did not end within 1 s and was cleared")
    machine.host("ccw", TERMINAL, "sense-id")
    scene.down()


def case_restart(scene):
    """an appliance that is killed is started again, and the host goes on"""
    machine = Machine(scene, HOST)
    program = machine.suspended_program()
    scene.kill_appliance()
    ended(program, 1, "the appliance was started anew while the program ran")
    machine.until_restarted(1)
    machine.host("ccw", TERMINAL, "sense-id")
    scene.down()


def case_endless(scene):
    """a program that nothing ends is a program check, and stops nobody"""
    machine = Machine(scene, HOST)
    for options in ([], ["--no-prefetch"]):
        machine.refused("program check", "ccw", TERMINAL, *options, "0360000100000000", "0800000000000000")
        machine.host("ccw", TERMINAL, "sense-id")
    # NOP, transfer in channel to the second one, and from there back.
    machine.refused("program check", "ccw", TERMINAL, "0360000100000000", "0360000100000000", "0800000000000008")
    machine.host("ccw", TERMINAL, "sense-id")
    assert scene.status()["appliance"]["restarts"] == 0
    scene.down()


def case_paths(scene):
    """a program over a path that is not there ends at once, and later ones are not touched by that"""
    machine = Machine(scene, HOST)
    said = machine.refused("ended with|not operational|no path", "ccw", TERMINAL, "--lpm", "40", "nop")
    assert "did not end within" not in said, said
    machine.host("ccw", TERMINAL, "sense-id")
    machine.host("ccw", TERMINAL, "nop")
    scene.down()


def case_withheld(scene):
    """a virtio device is nobody's, not even the host's: its data are addresses"""
    machine = Machine(scene, HOST)
    machine.says(r"^0\.0\.0300 .* appliance$", "lscss")
    machine.refused("is not passed through", "ccw", "0.0.0300", "sense-id")
    machine.plug("0500", "virtio-rng-ccw")
    machine.until_listed(r"^0\.0\.0500 .* appliance$")
    machine.refused("is not passed through", "ccw", "0.0.0500", "sense-id")
    console = (scene.run / "console.log").read_text(errors="replace")
    assert re.search(r"0\.0\.0500 is not passed through: a virtio device", console), console
    machine.unplug("0500")
    machine.until_listed(r"^0\.0\.0500 ", wanted=False)
    scene.down()
