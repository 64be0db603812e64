#!/usr/bin/env python3
"""Runs QEMU with a keyboard for the appliance's console: a socket beside the log, `console.sock`. With a file `line-mode` there, the
console is a line-mode one."""
import os
import re
import sys
from pathlib import Path

QEMU = "/usr/bin/qemu-system-s390x"


def keyboard(word):
    """A word of QEMU's command line, as it is then."""
    log = re.fullmatch("file,id=console,path=(.*),append=on", word)
    if log:
        place = Path(log[1]).parent
        return f"socket,id=console,path={place}/console.sock,server=on,wait=off,logfile={log[1]},logappend=on"
    return word


def main(arguments):
    """QEMU, in place of this."""
    logs = [word for word in arguments if word.startswith("file,id=console,path=")]
    is_line_mode = any((Path(word[len("file,id=console,path="):].partition(",")[0]).parent / "line-mode").exists() for word in logs)
    words = [keyboard(word) for word in arguments]
    if is_line_mode:
        words = [word.replace("sclpconsole", "sclplmconsole") for word in words]
    os.execv(QEMU, [QEMU, *words])


if __name__ == "__main__":
    main(sys.argv[1:])
