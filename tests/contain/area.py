"""The area, as docs/protocol.md describes it: read from outside, and driven by a client that writes channel programs."""
import mmap
import os
import socket
import struct

from front import LIMIT, until

MAGIC = b"STLWAREA"
PAGE = 4096
# Parts, by their ids.
DOORBELL, UNDER_WAY, COMMANDS, RESPONSES, STATUSES, SCHIBS, EVENTS, POSITIONS, IN_FLIGHT = (
    0x01, 0x1B, 0x20, 0x21, 0x22, 0x23, 0x25, 0x27, 0x2A)
# Instructions.
START, HALT, CLEAR, CANCEL, RESUME, STORE, MODIFY, TEST = range(1, 9)
TAKEN = 1  # a head of the in-flight table
BEGUN = 1  # a request under way
APPLIANCE_HALF = 128
# CCWs of format 1.
CHAIN_COMMAND, SUPPRESS_LENGTH = 0x40, 0x20
NOP, SENSE_ID, TRANSFER = 0x03, 0xE4, 0x08
PROGRAM_CHECK, INTERFACE_CONTROL_CHECK = 0x20, 0x02  # subchannel status


def ccw(command, flags=0, count=0, address=0):
    """A CCW of format 1."""
    return struct.pack(">BBHI", command, flags, count, address)


class Area:
    """One area in somebody's memory: anything that can be sliced, from `at` on."""

    def __init__(self, memory, at):
        self.memory, self.at = memory, at
        head = memory[at:at + 64]
        assert head[:8] == MAGIC, "there is no area"
        (self.length,) = struct.unpack(">Q", head[16:24])
        first, count = struct.unpack(">II", head[24:32])
        self.parts = {}
        for number in range(count):
            place = at + first + 16 * number
            part, _, offset, stride, entries = struct.unpack(">HHIII", memory[place:place + 16])
            self.parts[part] = (offset, stride, entries)

    @staticmethod
    def in_pool(pool, end, kind=2):
        """Those of clients that lie in front of `end` in a pool, in the order of the clients; or of another kind."""
        fd = os.open(pool, os.O_RDONLY | os.O_CLOEXEC)
        memory = mmap.mmap(fd, end, prot=mmap.PROT_READ)
        os.close(fd)
        starts = (at for at in range(0, end, PAGE) if memory[at:at + 8] == MAGIC)
        return [Area(memory, at) for at in starts if memory[at + 12:at + 16] == bytes((0, 0, 0, kind))]

    def place(self, part, entry=0):
        """Where an entry of a part begins in the memory."""
        offset, stride, entries = self.parts[part]
        assert entry < entries
        return self.at + offset + stride * entry

    def get(self, part, entry, at, length):
        """Some bytes of an entry."""
        start = self.place(part, entry) + at
        return self.memory[start:start + length]

    def put(self, part, entry, at, data):
        """Writes some bytes of an entry."""
        start = self.place(part, entry) + at
        self.memory[start:start + len(data)] = data

    def word(self, part, entry, at):
        """A word of an entry."""
        return struct.unpack(">I", self.get(part, entry, at, 4))[0]

    def set_word(self, part, entry, at, value):
        """Writes a word of an entry."""
        self.put(part, entry, at, struct.pack(">I", value & 0xFFFFFFFF))

    def in_flight(self):
        """Requests that the appliance has taken and not returned, of all queues."""
        offset, stride, entries = self.parts[IN_FLIGHT]
        assert stride == 4
        table = self.memory[self.at + offset:self.at + offset + 4 * entries]
        return sum(state == TAKEN for (state, _) in struct.iter_unpack(">HH", table))


class ChannelClient:
    """A client that drives its area itself. It looks instead of sleeping, so nobody has to wake it."""

    def __init__(self, window, link=True):
        self.window, self.area = window, Area(window.memory, window.area)
        self.link = None
        if link:
            self.connect()
        self.begin_anew()

    def connect(self):
        """Opens the link, as the VM's serial port does."""
        self.link = socket.socket(socket.AF_UNIX)
        self.link.connect(self.window.sockets[0])
        self.link.setblocking(False)

    def ring(self):
        """Says to the appliance that there is something."""
        self.area.set_word(DOORBELL, 0, 0, self.area.word(DOORBELL, 0, 0) + 1)
        if self.area.word(DOORBELL, 0, APPLIANCE_HALF + 4):
            self.link.send(b"\1")

    def begin_anew(self):
        """As the VM does when it starts."""
        self.area.set_word(DOORBELL, 0, 8, self.area.word(DOORBELL, 0, 8) + 1)
        self.ring()

    def ask(self, subchannel, instruction, operand=b""):
        """Stores a request and rings; whoever waits for the answer calls `answer`."""
        self.area.put(COMMANDS, subchannel, 8, operand.ljust(56, b"\0"))
        self.area.set_word(COMMANDS, subchannel, 4, instruction)
        self.area.set_word(COMMANDS, subchannel, 0, self.area.word(COMMANDS, subchannel, 0) + 1)
        self.ring()

    def answer(self, subchannel, seconds=LIMIT):
        """Waits for the answer to the request: its condition code."""
        def answered():
            return self.area.word(RESPONSES, subchannel, 0) == self.area.word(COMMANDS, subchannel, 0)

        until("the request is answered", answered, seconds, pause=0.001)
        return self.area.word(RESPONSES, subchannel, 4)

    def request(self, subchannel, instruction, operand=b"", seconds=LIMIT):
        """A request and its condition code."""
        self.ask(subchannel, instruction, operand)
        return self.answer(subchannel, seconds)

    def enable(self, subchannel=0):
        """STORE SUBCHANNEL, and MODIFY SUBCHANNEL with the enable bit; retried while the answer is busy."""
        def enabled():
            assert self.request(subchannel, STORE) == 0
            schib = bytearray(self.area.get(SCHIBS, subchannel, 0, 52))
            schib[5] |= 0x80
            return self.request(subchannel, MODIFY, bytes(schib)) == 0

        until("the subchannel is enabled", enabled)

    def enabled(self, subchannel=0):
        """Whether it is, by STORE SUBCHANNEL."""
        assert self.request(subchannel, STORE) == 0
        return bool(self.area.get(SCHIBS, subchannel, 5, 1)[0] & 0x80)

    def program(self, program, at=0x10000):
        """Puts a program, a list of CCWs, into the client's memory, and gives the ORB for it."""
        self.window.put(at, b"".join(program))
        return struct.pack(">III", 0, 0x00C0FF00, at)  # format 1, prefetch, all paths

    def run(self, subchannel, program, seconds=LIMIT):
        """A program from its START to its status: condition code of START, and the IRB."""
        code = self.request(subchannel, START, self.program(program), seconds)
        return code, self.status(subchannel, seconds) if code == 0 else b""

    def status(self, subchannel, seconds=LIMIT):
        """Waits for status and takes it: the IRB."""
        until("there is status", lambda: self.area.word(STATUSES, subchannel, 0), seconds, pause=0.001)
        assert self.request(subchannel, TEST) == 0
        return self.area.get(STATUSES, subchannel, 32, 96)

    def reports(self):
        """Takes the channel reports that wait."""
        found = []
        _, _, length = self.area.parts[EVENTS]
        taken = self.area.word(POSITIONS, 0, 32)
        while taken != self.area.word(POSITIONS, 0, 0):
            found.append(self.area.word(EVENTS, taken % length, 0))
            taken = (taken + 1) & 0xFFFFFFFF
        self.area.set_word(POSITIONS, 0, 32, taken)
        return found

    def close(self):
        """The VM is gone without a word."""
        self.link.close()


def subchannel_status(irb):
    """Subchannel status of an IRB; the byte before it is the device status."""
    return irb[9]
