"""Clients, the appliance and the service end and begin again, in order and not, while stock Linux clients work."""
import os
import signal
import time

from fixture.common import until


def case_client_reboot(scene):
    """a client reboots in the middle of its work, again and again, and finds its disk as it left it"""
    scene.disk("data", "16M")
    scene.client("linux", "256M")
    scene.gives("linux", "data", queues=2)
    scene.up()
    linux = scene.boot("linux", "reboot", processors=2, may_reboot=True, reboots=3)
    linux.passes(120)
    scene.down()
    assert len(linux.says("^MARK boot")) == 3, linux.says("^MARK")
    scene.agrees(linux, "vda", "data")


def case_client_killed(scene):
    """a client's QEMU is killed under load and started again: what it had flushed is there, and the other client does not notice"""
    scene.disk("mine", "16M")
    scene.disk("theirs", "16M")
    scene.client("steady", "256M")
    scene.client("doomed", "256M")
    scene.gives("steady", "mine")
    scene.gives("doomed", "theirs")
    scene.up()
    steady = scene.boot("steady", "steady", seconds=30)
    doomed = scene.boot("doomed", "doomed")
    steady.mark("under load")
    doomed.mark("under load")
    time.sleep(2)
    doomed.kill_at_once()
    doomed = scene.boot("doomed", "doomed-again")
    doomed.passes(60)
    steady.passes(120)
    scene.down()
    scene.agrees(doomed, "vda", "theirs")
    scene.agrees(steady, "vda", "mine")


def case_crowded_disk(scene):
    """two clients fill one disk's queues, and one is killed: it can come again at once, and the other does not notice"""
    scene.disk("data", "33M")
    scene.client("steady", "256M")
    scene.client("doomed", "256M")
    scene.gives("steady", "data", size=32768)
    scene.gives("doomed", "data", start=32768, size=34816)
    scene.up()
    steady = scene.boot("steady", "steady", seconds=20, depth=128)
    doomed = scene.boot("doomed", "doomed", depth=128)
    steady.mark("under load")
    doomed.mark("under load")
    time.sleep(2)
    doomed.kill_at_once()
    doomed = scene.boot("doomed", "doomed-again")
    doomed.passes(60)
    steady.passes(90)
    scene.down()
    scene.agrees(doomed, "vda", "data", 32768, 34816)
    scene.agrees(steady, "vda", "data", 0, 32768)


def kill_often(scene, kills):
    """Kills the appliance so often while the clients work, at instants at which requests are in flight: always one, and in half of
    the cases eight or more."""
    many = 0
    for kill in range(kills):
        time.sleep(0.5)
        count = scene.kill_in_flight(8, seconds=3)
        print(f"kill {kill + 1}: {count} requests were in flight")
        assert count > 0, f"kill {kill + 1} met no request"
        many += count >= 8
    assert 2 * many >= kills, f"only {many} of {kills} kills met eight requests or more"


def killed_again_and_again(scene, image_format):
    """Two clients write and compare, and the appliance is killed six times."""
    scene.disk("one", "16M", image_format)
    scene.disk("two", "16M", image_format)
    scene.client("first", "256M")
    scene.client("second", "256M")
    scene.gives("first", "one")
    scene.gives("second", "two", queues=2)
    scene.up()
    first = scene.boot("first", "steady", seconds=15)
    second = scene.boot("second", "steady", seconds=15)
    first.mark("under load")
    second.mark("under load")
    kill_often(scene, 6)
    first.passes(120)
    second.passes(120)
    scene.down()
    scene.agrees(first, "vda", "one")
    scene.agrees(second, "vda", "two")


def case_appliance_killed_raw(scene):
    """the appliance is killed again and again while two clients write to raw images: no error, no difference"""
    killed_again_and_again(scene, "raw")


def case_appliance_killed_qcow2(scene):
    """the appliance is killed again and again while two clients write to qcow2 images: no error, no difference"""
    killed_again_and_again(scene, "qcow2")


def case_stop_under_load(scene):
    """the service is stopped under load: it ends in order, at once, and every write that was acknowledged is in the image"""
    image = scene.disk("data", "16M")
    scene.client("linux", "256M")
    scene.gives("linux", "data", queues=2)
    scene.up()
    linux = scene.boot("linux", "acknowledge", processors=2)
    linux.mark("under load")
    linux.until_says(r"^ACK 40\b", 60)
    scene.down(15)
    linux.kill_at_once()
    # The client writes a block, flushes, and only then says so. Block N holds lines of "block N".
    last = int(linux.says("^ACK [0-9]+$")[-1].split()[1])
    blocks = image.read_bytes()
    for block in range(1, last + 1):
        line = f"block {block}\n".encode()
        want = (line * 4096)[:4096]
        assert blocks[4096 * block:4096 * (block + 1)] == want, f"block {block} of {last} that were acknowledged"
    print(f"{last} blocks were acknowledged")


def case_service_restarted(scene):
    """a client's VM is started before the service, and outlives an orderly stop and a new start of it in the middle of its work"""
    scene.disk("data", "16M")
    scene.client("linux", "256M")
    scene.gives("linux", "data", queues=2)
    scene.write_config()
    linux = scene.boot("linux", "steady", processors=2, seconds=15)
    time.sleep(1)
    scene.up()
    linux.mark("under load")
    time.sleep(3)
    scene.down(15)
    time.sleep(1)
    scene.log_file.write_text("")
    scene.up()
    linux.passes(120)
    scene.down()
    scene.agrees(linux, "vda", "data")


def case_alone(scene):
    """a configuration without a client comes up, serves, and does so again after the appliance was killed"""
    def serves(restarts, disks):
        def status():
            found = scene.status()
            return (found["appliance"]["life"], found["appliance"]["restarts"]) == ("serving", restarts) and found

        devices = until("it serves", status, 30)["devices"]
        found = [device for device in devices if (device["cu_type"], device["cu_model"]) == ("3832", "02")]
        assert len(found) == disks, devices

    scene.up()
    serves(0, 0)
    os.kill(scene.status()["appliance"]["pid"], signal.SIGKILL)
    serves(1, 0)
    scene.down()
    scene.log_file.write_text("")
    scene.disk("data", "8M")
    scene.up()
    serves(0, 1)
    scene.down()
