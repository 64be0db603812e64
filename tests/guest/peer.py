#!/usr/bin/env python3
"""The other end of a device of the image under test, on a Unix socket that QEMU listens on.

    peer.py link SOCKET        the wake-up link: each byte is answered by one; after a second of quiet it
                               hangs up, and calls again
    peer.py terminal SOCKET    a 3270 terminal (TN3270): when the image writes PRESS ENTER, it presses ENTER
    peer.py nervous SOCKET     one that goes on pressing it then, with pauses of up to 8 ms

Ends when QEMU does, or after two minutes.
"""
import random
import socket
import sys
import time

LIFETIME = 120

# Telnet, as a 3270 terminal speaks it.
IAC, SB, SE, END_OF_RECORD = 0xFF, 0xFA, 0xF0, 0xEF
ASK_TERMINAL_TYPE = bytes([IAC, SB, 0x18, 1, IAC, SE])
TERMINAL_TYPE = bytes([IAC, SB, 0x18, 0]) + b"IBM-3278-2-E" + bytes([IAC, SE])
RECORD = bytes([IAC, END_OF_RECORD])
ENTER_KEY = bytes([0x7D, 0x40, 0x40]) + RECORD
PROMPT = "PRESS ENTER".encode("cp037")


def call(path, end):
    """Connects as soon as somebody listens."""
    while time.monotonic() < end:
        peer = socket.socket(socket.AF_UNIX)
        try:
            peer.connect(path)
            return peer
        except OSError:
            peer.close()
            time.sleep(0.02)
    return None


def link(peer):
    """Answers until it has been quiet for a second; false when QEMU has gone."""
    peer.settimeout(1)
    while True:
        try:
            data = peer.recv(4096)
        except TimeoutError:
            return True
        if not data:
            return False
        peer.sendall(data)


def prompts(peer):
    """Negotiates; then yields whenever the image writes PRESS ENTER."""
    data = b""
    while chunk := peer.recv(4096):
        data += chunk
        if ASK_TERMINAL_TYPE in data:
            peer.sendall(TERMINAL_TYPE)
            data = data.split(ASK_TERMINAL_TYPE, 1)[1]
        while RECORD in data:
            record, data = data.split(RECORD, 1)
            if PROMPT in record:
                # The write ends first: QEMU would put the key into its status.
                time.sleep(0.02)
                yield True


def terminal(peer):
    """Presses ENTER when asked."""
    peer.settimeout(LIFETIME)
    for _ in prompts(peer):
        peer.sendall(ENTER_KEY)
    return False


def nervous(peer, asked=[]):
    """Once asked, presses ENTER again and again, at moments that are the same in each run; true when QEMU hangs up,
    which it does now and then."""
    moments = random.Random(3270)
    peer.settimeout(LIFETIME)
    if asked:
        data = b""
        while ASK_TERMINAL_TYPE not in data:
            chunk = peer.recv(4096)
            if not chunk:
                return True
            data += chunk
        peer.sendall(TERMINAL_TYPE)
        # What comes together with it, QEMU takes for a part of it.
        time.sleep(0.2)
    elif next(prompts(peer), False):
        asked.append(True)
    else:
        return False
    peer.setblocking(False)
    while True:
        time.sleep(moments.uniform(0.001, 0.008))
        try:
            if not peer.recv(4096):
                return True
        except BlockingIOError:
            pass
        try:
            peer.sendall(ENTER_KEY)
        except BlockingIOError:
            pass


class Typist:
    """A terminal, for a test that looks at what is written there, and says itself what is typed, and when."""

    def __init__(self, path):
        self.socket = call(str(path), time.monotonic() + LIFETIME)
        self.socket.settimeout(LIFETIME)
        self.data = b""
        self._until(ASK_TERMINAL_TYPE)
        self.socket.sendall(TERMINAL_TYPE)

    def _until(self, mark):
        while mark not in self.data:
            chunk = self.socket.recv(4096)
            assert chunk, "QEMU has hung up"
            self.data += chunk
        before, self.data = self.data.split(mark, 1)
        return before

    def written(self):
        """The data of the next write; it has no byte X'FF'."""
        return self._until(RECORD)[1:]

    def types(self, data):
        """All of it, and a key."""
        self.socket.sendall(data + RECORD)


def main():
    role = {"link": link, "terminal": terminal, "nervous": nervous}[sys.argv[1]]
    end = time.monotonic() + LIFETIME
    while peer := call(sys.argv[2], end):
        try:
            again = role(peer)
        except OSError:
            again = False
        peer.close()
        if not again:
            break
        time.sleep(0.2)


if __name__ == "__main__":
    main()
