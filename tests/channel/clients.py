"""A client of its own: a second VM that drives subchannels over its area."""
import signal

from channel.machine import CLIENT, Machine


def case_client(scene):
    """condition codes, programs, wrong operands, halt, clear, suspend and interruptions over an area"""
    machine = Machine(scene, CLIENT)
    client = machine.client_passes("channel")
    assert client.says(r"PASS: 0\.0\.1000 3270/00 .*: SENSE ID by a format-1 CCW")
    machine.refused('belongs to client "bare"', "ccw", "0.0.3270", "nop")
    assert client.says(r"PASS: 0\.0\.1000 3270/00 .*: a key at the terminal ends the wait")
    # Every request was announced: what the slow timers find is what a wake-up got lost for.
    status = scene.status()
    assert status["appliance"]["healed"] + status["daemon"]["healed"] <= 2, status
    scene.down()


def case_attention(scene):
    """ATTENTION before, while and after starts, halts and clears"""
    machine = Machine(scene, CLIENT, peer="nervous")
    client = machine.client_passes("attention")
    assert not client.says("^SKIP"), client.says("^SKIP")
    scene.down()


def case_killed(scene):
    """a client that is killed at work is quiesced, and the next one finds all in order"""
    machine = Machine(scene, CLIENT)
    for passed in (5, 20):
        machine.victim(passed)
    machine.client_passes("channel")
    machine.says('"event":"reset"', "trace", "--once", "--json")
    scene.down()


def case_twice(scene):
    """a client that is started twice: the second VM ends at once, in words, and the first one goes on"""
    machine = Machine(scene, CLIENT)
    first = scene.boot_tests("bare", "channel")
    first.until_says("^PASS", 30, 3)
    # It would be through before the second one is there.
    first.send_signal(signal.SIGSTOP)
    second = scene.boot_tests("bare", "channel")
    second.ends(20, status=1)
    assert second.says("Cannot lock pid file"), second.text()
    assert not second.says("PASS|FAIL"), second.text()
    first.send_signal(signal.SIGCONT)
    first.all_passed()
    # One that was killed keeps nobody from being started again.
    machine.victim(3)
    machine.client_passes("channel")
    scene.down()


def case_restart_client(scene):
    """an appliance that is killed is started again, and a client goes on"""
    machine = Machine(scene, CLIENT)
    machine.client_passes("channel")
    scene.kill_appliance()
    machine.until_restarted(1)
    machine.client_passes("channel")
    scene.down()
