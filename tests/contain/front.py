"""A client without a VM: a vhost-user front end with split virtqueues, on a window of the pool.

It does what the QEMU of a stock client and the virtio-blk driver in that client do between them, and can do it wrong where a
test wants it to. A `Window` is a client's memory, a `Disk` its connection to one of its disks, a `Ring` one of that disk's
queues. What a ring has in flight it also remembers, so nothing has to be read back from the shared memory to know it.

Limits: one memory region, chains of at most three descriptors, no indirect ones, no used-buffer suppression.
"""
import array
import ctypes
import mmap
import os
import re
import select
import socket
import struct
import time
from typing import NamedTuple

READ, WRITE, FLUSH, GET_ID = 0, 1, 4, 8  # request types
OK, IOERR = 0, 1  # status bytes
NEXT, DEVICE_WRITES = 1, 2  # descriptor flags
SECTOR = 512
LIMIT = 40  # seconds for whatever has to happen, on a machine that is busy with other things

# Messages, as vhost-user numbers them.
GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL = 8, 9, 10, 11, 12, 13
SET_VRING_ERR = 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, SET_VRING_ENABLE = 15, 16, 18
MQ, REPLY_ACK, CONFIG = 1 << 0, 1 << 3, 1 << 9  # protocol features
VERSION_1, PROTOCOL_FEATURES, CAN_FLUSH = 1 << 32, 1 << 30, 1 << 9


class Skipped(Exception):
    """The case cannot run on this machine, and why."""


def needs_fuse():
    """Skips the case where no file system can be made up."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Skipped("there is no /dev/fuse that may be used")


def until(what, condition, seconds=LIMIT, pause=0.02):
    """Waits until the condition holds, and gives what it gave; fails with `what` was waited for."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)


class Window:
    """A client's memory. Its beginning is this class's to give away: each ring takes what it needs from there."""

    USER = 0x7F0000000000  # where the front end says that it has the memory in its own address space

    def __init__(self, arguments):
        """From the arguments that `stellwerk client-args` prints."""
        options = dict(re.findall(r"(mem-path|size|offset)=([^,\s]+)", arguments))
        self.path, self.size, self.offset = options["mem-path"], int(options["size"]), int(options["offset"])
        self.sockets = re.findall(r"path=([^,\s]+\.sock)", arguments)
        area = re.search(r"area=(0x[0-9a-f]+)", arguments)
        self.area = int(area.group(1), 16) if area else None
        self.fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self.memory = mmap.mmap(self.fd, self.size, offset=self.offset)
        self.free = 1 << 20

    def take(self, length):
        """Room for `length` bytes, zeroed."""
        at = (self.free + 4095) & ~4095
        self.free = at + length
        assert self.free <= self.size, "the window is too small for this test"
        self.put(at, bytes(length))
        return at

    def put(self, at, data):
        """Writes to the client's memory."""
        self.memory[at:at + len(data)] = data

    def get(self, at, length):
        """Reads from the client's memory."""
        return self.memory[at:at + length]


class Done(NamedTuple):
    """A request that was returned."""
    head: int
    status: int
    written: int  # bytes, as the used ring says
    data: bytes


class Ring:
    """One split virtqueue, and a buffer for each of its requests."""

    def __init__(self, window, index, size=128, buffer=4096, kick_flags=os.EFD_NONBLOCK, call_flags=os.EFD_NONBLOCK):
        self.window, self.index, self.size, self.buffer = window, index, size, buffer
        self.places = size // 3  # requests at most
        self.descriptors = window.take(16 * size)
        self.available = window.take(6 + 2 * size)
        self.used = window.take(6 + 8 * size)
        self.headers = window.take(32 * size)
        self.data = window.take(buffer * self.places)
        # Each of these is read and written at once, never byte by byte.
        self.available_index = ctypes.c_uint16.__ctype_le__.from_buffer(window.memory, self.available + 2)
        self.used_index = ctypes.c_uint16.__ctype_le__.from_buffer(window.memory, self.used + 2)
        self.kick_fd, self.call_fd = os.eventfd(0, kick_flags), os.eventfd(0, call_flags)
        self.produced = self.consumed = 0
        self.free = list(range(0, 3 * self.places, 3))
        self.open = {}
        self.disk = None

    def start(self, kind, sector=0, length=0, data=b""):
        """Makes a request available, without a kick; the head that it has. `length` is of what the device writes."""
        head = self.free.pop()
        header, buffer = self.headers + 32 * head, self.data + self.buffer * (head // 3)
        self.window.put(header, struct.pack("<IIQ", kind, 0, sector) + b"\xff")
        chain = [(header, 16, 0)]
        if data:
            assert len(data) <= self.buffer
            self.window.put(buffer, data)
            chain.append((buffer, len(data), 0))
        if length:
            assert length <= self.buffer
            chain.append((buffer, length, DEVICE_WRITES))
        chain.append((header + 16, 1, DEVICE_WRITES))
        for number, (address, count, flags) in enumerate(chain):
            last = number == len(chain) - 1
            flags, following = (flags, 0) if last else (flags | NEXT, head + number + 1)
            self.window.put(self.descriptors + 16 * (head + number), struct.pack("<QIHH", address, count, flags, following))
        self.window.put(self.available + 4 + 2 * (self.produced % self.size), struct.pack("<H", head))
        self.produced = (self.produced + 1) & 0xFFFF
        self.available_index.value = self.produced
        self.open[head] = length
        return head

    def kick(self):
        """Says that there is something."""
        os.eventfd_write(self.kick_fd, 1)

    def done(self):
        """What has been returned since the last call."""
        found = []
        index = self.used_index.value
        while self.consumed != index:
            place = self.used + 4 + 8 * (self.consumed % self.size)
            head, written = struct.unpack("<II", self.window.get(place, 8))
            length = self.open.pop(head)  # a head that is not in flight ends the test here
            status = self.window.get(self.headers + 32 * head + 16, 1)[0]
            found.append(Done(head, status, written, self.window.get(self.data + self.buffer * (head // 3), length)))
            self.free.append(head)
            self.consumed = (self.consumed + 1) & 0xFFFF
        return found

    def wait(self, count, seconds=LIMIT):
        """Waits for so many requests to be returned."""
        found = []
        end = time.monotonic() + seconds
        while len(found) < count:
            now = self.done()
            found += now
            if not now:
                assert time.monotonic() < end, f"{len(found)} of {count} requests were returned within {seconds} s"
                time.sleep(0.0005)
        return found

    def run(self, kind, sector=0, length=0, data=b"", seconds=LIMIT):
        """One request from its start to its end; nothing else may be in flight."""
        assert not self.open
        self.start(kind, sector, length, data)
        self.kick()
        return self.wait(1, seconds)[0]

    def write(self, sector, data, seconds=LIMIT):
        """Writes, and fails when the disk does."""
        status = self.run(WRITE, sector, data=data, seconds=seconds).status
        assert status == OK, f"a write to sector {sector} ended with status {status}"

    def read(self, sector, length, seconds=LIMIT):
        """Reads, and fails when the disk does."""
        done = self.run(READ, sector, length, seconds=seconds)
        assert done.status == OK, f"a read of sector {sector} ended with status {done.status}"
        return done.data

    def works(self, sector=0, requests=32, seconds=LIMIT):
        """What is written is read back: the disk is served."""
        length = min(self.buffer, 4096)
        for number in range(requests):
            data = os.urandom(length)
            at = sector + number * length // SECTOR
            self.write(at, data, seconds)
            assert self.read(at, length, seconds) == data, f"sector {at} is not what was written"


class Refused(Exception):
    """The daemon refused a message, or closed the connection."""


class Disk:
    """A connection to one of the client's disks."""

    def __init__(self, window, number=0):
        self.window = window
        self.path = window.sockets[number]
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect(self.path)
        self.rings = []

    def send(self, message, payload=b"", fds=(), reply=False):
        """One message, without waiting."""
        head = struct.pack("<III", message, 1 | (8 if reply else 0), len(payload))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.socket.sendmsg([head + payload], rights)
        except ConnectionError as gone:
            raise Refused("the daemon has closed the connection") from gone

    def receive(self):
        """The payload of the next message from the daemon."""
        return self.exactly(struct.unpack("<III", self.exactly(12))[2])

    def exactly(self, count):
        """So many bytes from the socket."""
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionError:
                more = b""
            if not more:
                raise Refused("the daemon has closed the connection")
            data += more
        return data

    def ask(self, message, payload=b""):
        """A message with an answer of its own."""
        self.send(message, payload)
        return self.receive()

    def do(self, message, payload=b"", fds=()):
        """A message that is to be acknowledged."""
        self.send(message, payload, fds, reply=True)
        (answer,) = struct.unpack("<Q", self.receive())
        if answer:
            raise Refused(f"message {message} was refused ({answer})")

    def negotiate(self):
        """Everything up to the queues."""
        (offered,) = struct.unpack("<Q", self.ask(GET_FEATURES))
        (protocol,) = struct.unpack("<Q", self.ask(GET_PROTOCOL_FEATURES))
        self.send(SET_PROTOCOL_FEATURES, struct.pack("<Q", protocol & (MQ | REPLY_ACK | CONFIG)))
        self.do(SET_OWNER)
        self.do(SET_FEATURES, struct.pack("<Q", (VERSION_1 | PROTOCOL_FEATURES | CAN_FLUSH) & offered))
        window = self.window
        region = struct.pack("<IIQQQQ", 1, 0, 0, window.size, window.USER, window.offset)
        self.do(SET_MEM_TABLE, region, [window.fd])
        return self

    def open(self, queues=1, **ring):
        """Negotiates and starts so many queues."""
        self.negotiate()
        for index in range(queues):
            self.start(Ring(self.window, index, **ring))
        return self

    def start(self, ring, base=0):
        """Gives the daemon a queue."""
        user = self.window.USER
        self.do(SET_VRING_NUM, struct.pack("<II", ring.index, ring.size))
        self.do(SET_VRING_BASE, struct.pack("<II", ring.index, base))
        addresses = user + ring.descriptors, user + ring.used, user + ring.available
        self.do(SET_VRING_ADDR, struct.pack("<IIQQQQ", ring.index, 0, *addresses, 0))
        self.do(SET_VRING_KICK, struct.pack("<Q", ring.index), [ring.kick_fd])
        self.do(SET_VRING_CALL, struct.pack("<Q", ring.index), [ring.call_fd])
        self.do(SET_VRING_ENABLE, struct.pack("<II", ring.index, 1))
        if ring not in self.rings:
            self.rings.append(ring)
        ring.disk = self  # who has the queue has the connection

    def enable(self, index, on):
        """SET_VRING_ENABLE, acknowledged."""
        self.do(SET_VRING_ENABLE, struct.pack("<II", index, int(on)))

    def stop(self, index):
        """GET_VRING_BASE: the queue is ended; where it stands."""
        return struct.unpack("<II", self.ask(GET_VRING_BASE, struct.pack("<II", index, 0)))[1]

    def closed(self, seconds=LIMIT):
        """Whether the daemon closes the connection within that time."""
        readable, _, _ = select.select([self.socket], [], [], seconds)
        try:
            return bool(readable) and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        """The VM is gone without a word."""
        self.socket.close()
