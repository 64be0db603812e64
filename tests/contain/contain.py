#!/usr/bin/env python3
"""The cases of this directory: contain.py --list, or contain.py NAME DIRECTORY to run one."""
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path

from front import Skipped
from scene import Scene

PREFIX = "case_"


def cases():
    """Each case by its name: the functions case_… of the files here, in their order."""
    files = (file for file in sorted(Path(__file__).parent.glob("*.py")) if f"\ndef {PREFIX}" in file.read_text())
    return {name.removeprefix(PREFIX): case for file in files
            for name, case in vars(import_module(file.stem)).items() if name.startswith(PREFIX)}


def main(arguments):
    """What the command line says."""
    if arguments == ["--list"]:
        for name, case in cases().items():
            print(name, case.__doc__)
        return 0
    name, directory = arguments
    # Ended from outside, a case ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with Scene(directory) as scene:
            cases()[name](scene)
    except Skipped as why:
        print(f"skipped: {why}")
        return 77
    except Exception:  # whatever it is, the case has failed
        traceback.print_exc()
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
