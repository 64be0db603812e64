#!/usr/bin/env python3
"""What the end-to-end cases in shell do to an appliance, and see in its pool.

    appliance.py kill CONFIG LEAST      kill it at an instant with so many requests in flight, or after a while at any; says how many
    appliance.py restart CONFIG         kill it at once, and wait until the next one serves
    appliance.py fails CONFIG KIND NAME      wait until one of the `disks` or `clients` has failed; says why
    appliance.py recovers CONFIG KIND NAME   wait until it is online
    appliance.py spoil CONFIG CLIENT    write over the header of a channel-level client's area
    appliance.py endless CONFIG CLIENT  start endless channel programs as that client; fails if they do not end
"""
import sys

from fixture.area import ENDLESS, PROGRAM_CHECK, subchannel_status
from fixture.service import Service


def main(command, config, *words):
    """What the command line says."""
    service = Service(config)
    if command == "kill":
        print(service.kill_in_flight(int(words[0]), seconds=3))
    elif command == "restart":
        service.restart_appliance()
    elif command == "fails":
        print(service.fails(*words))
    elif command == "recovers":
        service.recovers(*words)
    elif command == "spoil":
        window = service.window(words[0])
        window.put(window.area, bytes(64))
    elif command == "endless":
        client = service.channel_client(words[0])
        client.enable()
        for what, program in ENDLESS.items():
            code, irb = client.run(0, program)
            assert code == 0 and subchannel_status(irb) & PROGRAM_CHECK, f"{what}: {code}, {irb[:16].hex()}"
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
