"""What a neighbour does, or what befalls its disk, is not noticed by a stock Linux under load."""
import subprocess
import time

from fixture.area import ENDLESS, PROGRAM_CHECK, subchannel_status


def starts_endless_programs(scene, client):
    """A channel-level client tries each program that nothing would end; all of them are program checks."""
    bare = scene.channel_client(client)
    bare.enable()
    for what, program in ENDLESS.items():
        code, irb = bare.run(0, program)
        assert code == 0 and subchannel_status(irb) & PROGRAM_CHECK, f"{what}: {code}, {irb[:16].hex()}"
    bare.close()


def case_bad_neighbour(scene):
    """a neighbour starts endless channel programs, and spoils its area before a restart: a client under load does not notice"""
    scene.disk("data", "16M")
    scene.client("steady", "256M")
    scene.gives("steady", "data")
    scene.terminal("bare")
    scene.up()
    steady = scene.boot("steady", "steady", seconds=12)
    steady.mark("under load")
    starts_endless_programs(scene, "bare")
    window = scene.window("bare")
    window.put(window.area, bytes(64))
    scene.restart_appliance()
    time.sleep(1)
    starts_endless_programs(scene, "bare")
    steady.passes(90)
    assert scene.status()["appliance"]["restarts"] == 1
    scene.down()
    scene.agrees(steady, "vda", "data")


def case_full_file_system(scene):
    """a full file system under one of two disks: its client gets I/O errors and goes on when there is room, the other does not notice"""
    small = scene.small_file_system("small", "4M")
    scene.disk("good", "16M")
    scene.disk("bad", "16M", directory=small)
    scene.client("steady", "256M")
    scene.client("poor", "256M")
    scene.gives("steady", "good")
    scene.gives("poor", "bad")
    scene.up()
    steady = scene.boot("steady", "steady", seconds=10)
    poor = scene.boot("poor", "full")
    steady.mark("under load")
    poor.mark("no room", 90)
    steady.passes(90)
    subprocess.run(["mount", "-o", "remount,size=32M", small], check=True)
    poor.passes(60)
    scene.down()
    scene.agrees(steady, "vda", "good")
    scene.agrees(poor, "vda", "bad")


def case_image_away(scene):
    """an image is moved away over a restart of the appliance and back: the other disk is served meanwhile, and this one's client goes on"""
    scene.disk("good", "16M")
    image = scene.disk("bad", "16M")
    away = image.with_suffix(".away")
    scene.client("steady", "256M")
    scene.client("patient", "256M")
    scene.gives("steady", "good")
    scene.gives("patient", "bad")
    scene.up()
    steady = scene.boot("steady", "steady", seconds=12)
    patient = scene.boot("patient", "steady", seconds=12)
    steady.mark("under load")
    patient.mark("under load")
    image.rename(away)
    scene.restart_appliance()
    reason = scene.fails("disks", "bad")
    print(f"the status says: {reason}")
    assert reason
    steady.passes(90)
    away.rename(image)
    scene.recovers("disks", "bad")
    patient.passes(90)
    scene.down()
    scene.agrees(steady, "vda", "good")
    scene.agrees(patient, "vda", "bad")
