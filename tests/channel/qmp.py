#!/usr/bin/env python3
"""One command for a QEMU, over its QMP socket: qmp.py SOCKET COMMAND [NAME=VALUE…]. Says what was wrong, if anything was."""
import json
import socket
import sys

LIMIT = 20


def main(path, command, *arguments):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(LIMIT)
        peer.connect(path)
        lines = peer.makefile("rw", encoding="utf-8")
        lines.readline()  # the greeting
        ask(lines, "qmp_capabilities", {})
        ask(lines, command, dict(argument.split("=", 1) for argument in arguments))


def ask(lines, command, arguments):
    """Sends a command and skips events until its answer."""
    lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    lines.flush()
    answer = {"event": None}
    while "event" in answer:
        answer = json.loads(lines.readline())
    if "error" in answer:
        sys.exit(f"{command} {arguments}: {answer['error']['desc']}")


main(*sys.argv[1:])
