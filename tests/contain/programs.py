"""What channel programs, and devices that are passed through, can do to others."""
import os
import signal
import time

from fixture.area import (CHAIN_COMMAND, CLEAR, COMMANDS, ENDLESS, INTERFACE_CONTROL_CHECK, MODIFY, NOP, PROGRAM_CHECK, RESPONSES,
                          SCHIBS, SENSE_ID, START, STORE, SUPPRESS_LENGTH, TEST, ccw, subchannel_status)
from fixture.common import until


def beside_a_disk(scene, client="bare"):
    """A client with a disk, and a channel-level one, or the host, with a terminal."""
    scene.disk("good")
    scene.client("good")
    scene.gives("good", "good")
    scene.terminal(client)
    scene.up()
    good = scene.connect("good").rings[0]
    good.works()
    return good


def case_endless_program(scene):
    """a client's channel program that nothing can end is a program check, also after a restart, and others notice nothing"""
    good = beside_a_disk(scene)
    bare = scene.channel_client("bare")
    bare.enable()
    for what, program in ENDLESS.items():
        code, irb = bare.run(0, program, seconds=20)
        assert code == 0, f"{what}: START has condition code {code}"
        assert subchannel_status(irb) & PROGRAM_CHECK, f"{what}: {irb[:16].hex()}"
        good.works()
    code, irb = bare.run(0, [ccw(SENSE_ID, SUPPRESS_LENGTH, 16, 0x20000)])
    assert (code, irb[8:10]) == (0, b"\x0c\x00"), f"a good program: {irb[:16].hex()}"
    assert scene.status()["appliance"]["restarts"] == 0
    scene.down()


def case_request_at_death(scene):
    """a request that was open when the appliance died is answered as one that was cut off, not done again"""
    good = beside_a_disk(scene)
    bare = scene.channel_client("bare")
    bare.enable()
    for program in ENDLESS.values():
        orb = bare.program(program)
        pid = scene.serving()
        # Stopped before it is asked: so the request is open at its end.
        os.kill(pid, signal.SIGSTOP)
        bare.ask(0, START, orb)
        os.kill(pid, signal.SIGKILL)
        good.works()
        bare.answer(0)
        if not bare.enabled():
            bare.enable()
        good.works()
    assert scene.status()["appliance"]["restarts"] == len(ENDLESS), "a death has followed upon a death"
    scene.down()


def case_deadly_program(scene):
    """a subchannel whose requests the appliance dies of is out of service after the second time; `stellwerk retry` ends that"""
    good = beside_a_disk(scene)
    bare = scene.channel_client("bare")
    bare.enable()
    long = [ccw(NOP, CHAIN_COMMAND, 1, 0x20000)] * 2000 + [ccw(NOP, 0, 1, 0x20000)]

    def ask():
        if bare.area.word(RESPONSES, 0, 0) == bare.area.word(COMMANDS, 0, 0):
            # Whatever the last one came to, the subchannel is free.
            bare.request(0, CLEAR)
            bare.request(0, TEST)
            bare.ask(0, START, bare.program(long))

    scene.kill_within(ask)
    good.works()
    assert bare.answer(0) == 0, "it is answered as one that was begun"
    assert subchannel_status(bare.status(0)) & INTERFACE_CONTROL_CHECK
    assert bare.enabled()
    bare.reports()
    scene.kill_within(ask)
    good.works()
    assert bare.answer(0) == 3
    reports = until("there is a channel report", bare.reports)
    assert any(report >> 16 == 0x0384 for report in reports), [hex(report) for report in reports]
    assert bare.request(0, START, bare.program(long)) == 3

    def withheld():
        (found,) = (client["withheld"] for client in scene.status()["clients"] if client["name"] == "bare")
        return found and found[0]

    trouble = until("the status says so", withheld)
    assert trouble["name"] == "terminal" and "has died 2 times" in trouble["reason"], trouble
    code, answer = scene.command("retry", "terminal")
    assert code == 0, answer
    assert not withheld()
    bare.enable()
    code, irb = bare.run(0, [ccw(SENSE_ID, SUPPRESS_LENGTH, 16, 0x20000)])
    assert (code, irb[8:10]) == (0, b"\x0c\x00"), irb[:16].hex()
    good.works()
    assert scene.status()["appliance"]["restarts"] == 2
    scene.down()


def case_endless_program_of_the_host(scene):
    """the same for the host's own `stellwerk ccw`"""
    good = beside_a_disk(scene, None)
    code, answer = scene.command("ccw", "0.0.3270", "--timeout", "5", "0340000100000000", "0800000000000000")
    assert code == 1 and "program check" in answer, answer
    good.works()
    code, answer = scene.command("ccw", "0.0.3270", "sense-id")
    assert code == 0, answer
    assert scene.status()["appliance"]["restarts"] == 0
    scene.down()


def case_report_after_a_restart(scene):
    """a subchannel that was enabled and idle gets a channel report when the appliance has been started again"""
    beside_a_disk(scene)
    bare = scene.channel_client("bare")
    bare.enable()
    bare.reports()
    scene.restart_appliance()
    reports = until("there is a channel report", bare.reports)
    assert any(report >> 16 == 0x0384 and report & 0xFFFF == 0 for report in reports), [hex(report) for report in reports]
    assert bare.enabled(), "it is not enabled any more"
    code, irb = bare.run(0, [ccw(SENSE_ID, SUPPRESS_LENGTH, 16, 0x20000)])
    assert (code, irb[8:10]) == (0, b"\x0c\x00"), irb[:16].hex()
    scene.down()


def case_virtio_refused(scene):
    """a virtio device is not passed through to a client, whose way out of its window it would be"""
    scene.disk("good")
    scene.client("good")
    scene.gives("good", "good")
    scene.subchannel("rng", "0200", qemu="virtio-rng-ccw")
    scene.client("bare", "16M")
    scene.passes("bare", "rng")
    scene.start()
    if not scene.ready():
        # The configuration is refused, in words.
        assert "virtio" in scene.log(), scene.log()
        scene.daemon = None
        return
    bare = scene.channel_client("bare")
    assert bare.request(0, STORE) == 0
    code = bare.request(0, START, bare.program([ccw(SENSE_ID, SUPPRESS_LENGTH, 16, 0x20000)]))
    assert code == 3, f"START has condition code {code}"
    # Not after it was enabled, either.
    schib = bytearray(bare.area.get(SCHIBS, 0, 0, 52))
    schib[5] |= 0x80
    bare.request(0, MODIFY, bytes(schib))
    code = bare.request(0, START, bare.program([ccw(SENSE_ID, SUPPRESS_LENGTH, 16, 0x20000)]))
    assert code == 3, f"START has condition code {code}"
    (rng,) = (device for device in scene.status()["devices"] if device["device"] == "0.0.0200")
    assert not rng["client"], rng
    scene.connect("good").rings[0].works()
    scene.down()


def case_client_gone_with_a_program(scene):
    """a channel-level client that is gone in the middle of a program leaves nothing behind"""
    good = beside_a_disk(scene)
    for _ in range(5):
        bare = scene.channel_client("bare")
        bare.enable()
        # READ MODIFIED waits for somebody at the terminal, and nobody is there.
        bare.ask(0, START, bare.program([ccw(0x06, SUPPRESS_LENGTH, 16, 0x20000)]))
        bare.close()
        good.works(requests=4)
        time.sleep(0.1)
    bare = scene.channel_client("bare")
    bare.enable()
    code, irb = bare.run(0, [ccw(SENSE_ID, SUPPRESS_LENGTH, 16, 0x20000)])
    assert (code, irb[8:10]) == (0, b"\x0c\x00"), irb[:16].hex()
    good.works()
    scene.down()
