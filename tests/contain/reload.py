"""Another configuration while clients are served: whoever is untouched notices nothing."""
import contextlib
import os
import random
import signal
import threading
import time

from contain.successors import Load
from contain.upgrades import own_program, replace
from fixture.common import until


def change(scene, *options):
    """The configuration as the scene has it now is taken: what the command says."""
    scene.write_config()
    code, said = scene.command("reload", *options)
    assert code == 0, said
    return said


def refused(scene, *options):
    """It is not taken: why."""
    scene.write_config()
    code, said = scene.command("reload", *options)
    assert code != 0, said
    return said


def names(scene, kind):
    """Who is in the status."""
    return [entry["name"] for entry in scene.status()[kind]]


def steady_load(scene):
    """A disk with a client that is untouched all the time: its connection, and requests without end."""
    scene.disk("data", "64M")
    scene.gives("steady", "data", start=0, size=65536, queues=1)
    scene.up()
    steady = scene.connect("steady")
    return steady, Load(steady.rings[0])


def untouched(scene, steady, load):
    """It has noticed nothing, and the appliance has served all the time."""
    load.since()
    assert not steady.closed(0)
    assert scene.status()["appliance"]["restarts"] == 0
    load.end()
    steady.close()
    scene.down()


def case_ten_changes(scene):
    """clients, disks and slices come, grow and go, ten times: a client that is none of these has no error, no new connection and no long wait"""
    steady, load = steady_load(scene)
    alone, waits = load.since(), []

    def done(*lines, options=()):
        said = change(scene, *options)
        waits.append(load.since())
        for line in lines:
            assert line in said.splitlines(), f"{line!r} is not in {said!r}"

    scene.gives("second", "data", start=65536, size=1024, queues=1)
    done('client "second" comes')
    second = scene.connect("second")
    second.rings[0].works()
    scene.disk("more", "16M")
    scene.gives("third", "more", queues=1)
    done('disk "more" comes', 'client "third" comes')
    third = scene.connect("third")
    third.rings[0].works()
    # A client that is connected gets one disk more, and goes on with the one that it has.
    scene.gives("second", "data", start=67584, size=1024, queues=1)
    done('client "second", disk 1 comes ("data")')
    second.rings[0].works()
    window = scene.windows["second"]
    window.sockets.append(str(scene.run / "second.1.sock"))
    another = scene.connect("second", number=1, window=window)
    another.rings[0].works()
    another.close()
    assert second.capacity() == 1024
    scene.clients["second"]["disk"][0]["size"] = 2048
    done('client "second", disk 0 is longer')
    until("the slice is longer", lambda: second.capacity() == 2048)
    second.rings[0].write(2040, os.urandom(4096))
    scene.clients["steady"]["disk"][0]["weight"] = 200
    done('client "steady", disk 0 has another share')
    scene.clients["second"]["disk"].pop()
    done('client "second", disk 1 goes ("data")')
    second.close()
    del scene.clients["second"]
    done('client "second" goes')
    assert names(scene, "clients") == ["steady", "third"]
    assert not list(scene.run.glob("second.*"))
    # Its place, and that of a disk, are somebody else's then.
    scene.gives("fourth", "data", start=65536, size=2048, queues=1)
    done('client "fourth" comes')
    scene.connect("fourth").rings[0].works()
    third.close()
    devices = len(scene.status()["devices"])
    del scene.clients["third"], scene.disks["more"]
    done('client "third" goes', 'disk "more" goes')
    until("the disk is unplugged", lambda: len(scene.status()["devices"]) == devices - 1)
    scene.disk("late", "16M", "qcow2")
    scene.gives("fifth", "late", queues=1)
    done('disk "late" comes', 'client "fifth" comes')
    fifth = scene.connect("fifth")
    fifth.rings[0].works()
    print(f"the longest pair of requests: {alone * 1000:.1f} ms before, {max(waits) * 1000:.1f} ms with {len(waits)} changes")
    scene.kill_daemon()
    fifth.rings[0].works()
    untouched(scene, steady, load)


def case_an_error_changes_nothing(scene):
    """a configuration with an error in it, and one that would take something from a VM, are refused in words, by SIGHUP too; the daemon stays"""
    steady, load = steady_load(scene)
    scene.gives("second", "data", start=65536, size=1024, queues=1)
    change(scene)
    second, daemon = scene.connect("second"), scene.daemon_pid()
    scene.gives("wrong", "no such disk")
    assert 'there is no disk named "no such disk"' in refused(scene)
    scene.clients["wrong"]["disk"] = [{"disk": "missing"}]
    scene.old_disk("missing")
    assert "is not there" in refused(scene)
    del scene.clients["wrong"], scene.disks["missing"]
    kept = scene.clients.pop("second")
    said = refused(scene)
    assert "the VM of second is connected" in said and "--force" in said, said
    os.kill(scene.daemon_pid(), signal.SIGHUP)
    until("SIGHUP is refused too", lambda: "the configuration stays what it was: the VM of second is connected" in scene.log())
    scene.clients["second"] = kept
    assert "has not changed" in change(scene)
    assert scene.daemon_pid() == daemon
    second.rings[0].works()
    # By force its requests end, and then its connection.
    del scene.clients["second"]
    change(scene, "--force")
    assert second.closed()
    assert names(scene, "clients") == ["steady"]
    scene.gives("third", "data", start=65536, size=1024, queues=1)
    scene.write_config()
    os.kill(scene.daemon_pid(), signal.SIGHUP)
    until("SIGHUP is an order to take it", lambda: "has not changed" in scene.command("reload")[1])
    assert names(scene, "clients") == ["steady", "third"]
    scene.connect("third").rings[0].works()
    untouched(scene, steady, load)


def case_successor_is_asked_about_what_it_would_find(scene):
    """a program on disk that can follow this daemon, but not with the other configuration, changes nothing, and takes nothing from a VM"""
    scene.disk("data", "64M")
    scene.gives("steady", "data", start=0, size=65536, queues=1)
    scene.gives("goes", "data", start=65536, size=1024, queues=1)
    program = own_program(scene)
    good = program.read_bytes()
    steady = scene.connect("steady")
    load = Load(steady.rings[0])
    goes, daemon = scene.connect("goes"), scene.daemon_pid()
    replace(program, b"#!/bin/sh\ngrep -q second || exit 0\necho 'stellwerk: there is no second' >&2; exit 1\n")
    scene.gives("second", "data", start=67584, size=1024, queues=1)
    kept = scene.clients.pop("goes")
    said = refused(scene, "--force")
    assert "cannot follow this daemon: there is no second" in said, said
    replace(program, good)
    assert scene.daemon_pid() == daemon
    goes.rings[0].works()
    goes.close()
    scene.clients["goes"] = kept
    change(scene)
    second = scene.connect("second")
    second.rings[0].works()
    second.close()
    untouched(scene, steady, load)


def case_disk_is_opened_another_way(scene):
    """a disk whose file QEMU has open already, another way, or under another name, waits until that is unplugged: nothing fails on the way"""
    steady, load = steady_load(scene)
    image = scene.disk("first", "16M")
    scene.gives("second", "first", queues=1)
    change(scene)
    for name, keys in (("first", {"cache": "writeback"}), ("other", {}), ("first", {})):
        scene.disks.pop("first", None)
        scene.disks.pop("other", None)
        scene.disks[name] = {"image": str(image), "format": "raw"} | keys
        scene.clients["second"]["disk"][0]["disk"] = name
        change(scene)
        second = scene.connect("second")
        second.rings[0].works()
        second.close()
        until("nobody is connected", lambda: not scene.status()["clients"][1]["connected"])
    said = [line for line in scene.log().splitlines() if "it is tried again" in line]
    assert not said, said
    untouched(scene, steady, load)


def case_channel_client_comes(scene):
    """a client that does channel I/O by itself comes, is served, goes, and comes again in other memory; the other one notices nothing"""
    scene.terminal()
    steady, load = steady_load(scene)
    for _ in range(3):
        scene.client("bare", "16M")
        scene.passes("bare", "terminal")
        change(scene)
        scene.windows.pop("bare", None)  # it has other memory each time
        bare = scene.channel_client("bare")
        bare.enable()
        bare.close()
        until("its VM has gone", lambda: not scene.status()["clients"][-1]["connected"])
        del scene.clients["bare"]
        change(scene)
        assert not list(scene.run.glob("bare.*"))
    untouched(scene, steady, load)


def case_dies_while_it_changes(scene):
    """daemon or appliance is killed around a change, 12 times: what is served afterwards is the one configuration or the other, all of it"""
    steady, load = steady_load(scene)
    for number in range(12):
        scene.clients.pop("other", None)
        if number % 2 == 0:
            scene.gives("other", "data", start=65536, size=1024, queues=1)
        scene.write_config()
        order = threading.Thread(target=scene.command, args=("reload",))
        before, appliance = scene.daemon_pid(), scene.serving()
        order.start()
        time.sleep(random.uniform(0, 0.15))
        with contextlib.suppress(ProcessLookupError):
            os.kill(appliance if number % 3 == 2 else before, signal.SIGKILL)
        order.join()
        until("it can be changed", lambda: scene.command("reload")[0] == 0)
        assert names(scene, "clients") == ["steady", "other"][:2 - number % 2]
        if number % 2 == 0:
            other = scene.connect("other")
            other.rings[0].works()
            other.close()
        load.since()
        assert not steady.closed(0)
    load.end()
    steady.close()
    scene.down()
