"""A file system that can be told not to answer any more, as one whose server is gone: one directory with one file, in FUSE's own words.

What is asked while it is silent waits in the kernel, also when a signal kills whoever asked. Told to answer again, it answers all
of that.
"""
import ctypes
import errno
import os
import stat
import struct
import threading

from front import needs_fuse

LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, INIT = 1, 2, 3, 14, 15, 16, 17, 18, 20, 26
INTERRUPT, BATCH_FORGET, DESTROY = 36, 42, 38
ROOT, FILE = 1, 2
WITHOUT_ANSWER = {FORGET, INTERRUPT, BATCH_FORGET}
HEAD, ANSWER = struct.Struct("=IIQQIIII"), struct.Struct("=IiQ")
DIRECT_IO = 1  # nothing stays in the page cache
LIBC = ctypes.CDLL(None, use_errno=True)


class Hanging:
    """Mounted at a directory; its file `name` is kept in `backing`."""

    def __init__(self, place, name, backing):
        self.place, self.name = place, name.encode()
        self.file = os.open(backing, os.O_RDWR | os.O_CLOEXEC)
        needs_fuse()
        self.fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.answers = threading.Event()
        self.answers.set()
        self.program, self.seconds = None, None
        self.asked = 0  # since it is silent
        options = f"fd={self.fuse},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        if LIBC.mount(b"hanging", os.fsencode(place), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def hang(self, program=None, seconds=None):
        """From now on it takes what it is asked, and does not answer: nobody, or nobody who runs this program; or only after
        so many seconds."""
        self.asked = 0
        self.program, self.seconds = program, seconds
        self.answers.clear()

    def go_on(self):
        """It answers again, also what it was asked meanwhile."""
        self.answers.set()

    def end(self):
        """Unmounts it; whoever still waits gets an error."""
        self.go_on()
        LIBC.umount2(os.fsencode(self.place), 2)
        os.close(self.fuse)

    def serve(self):
        """Takes requests until it is unmounted."""
        while True:
            try:
                request = os.read(self.fuse, 1 << 20)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            length, operation, unique, node, _, _, thread, _ = HEAD.unpack_from(request)
            if operation in WITHOUT_ANSWER:
                continue
            body = request[HEAD.size:length]
            if self.answers.is_set() or not self.is_meant(thread):
                self.answer(operation, unique, node, body)
            else:
                self.asked += 1
                threading.Thread(target=self.late, args=(operation, unique, node, body), daemon=True).start()

    def is_meant(self, thread):
        """Whether it does not answer whoever has asked."""
        try:
            return self.program is None or self.program in os.readlink(f"/proc/{thread}/exe")
        except OSError:
            return False

    def late(self, *request):
        """Answers when it is told to, or when so much time has passed."""
        self.answers.wait(self.seconds)
        self.answer(*request)

    def answer(self, operation, unique, node, body):
        """One answer."""
        try:
            error, data = 0, self.made(operation, node, body)
        except OSError as wrong:
            error, data = -wrong.errno, b""
        try:
            os.write(self.fuse, ANSWER.pack(ANSWER.size + len(data), error, unique) + data)
        except OSError:
            pass  # nobody waits for it any more

    def made(self, operation, node, body):
        """What a request gets."""
        if operation == INIT:
            major, _, ahead, _ = struct.unpack_from("=IIII", body)
            return struct.pack("=IIIIHHIIHHII24x", major, 31, ahead, 0, 16, 12, 1 << 17, 1, 32, 0, 0, 0)
        if operation == LOOKUP:
            if body.rstrip(b"\0") != self.name:
                raise OSError(errno.ENOENT, "")
            return struct.pack("=QQQQII", FILE, 0, 0, 0, 0, 0) + self.attributes(FILE)
        if operation == GETATTR:
            return struct.pack("=QII", 0, 0, 0) + self.attributes(node)
        if operation == OPEN:
            return struct.pack("=QII", 0, DIRECT_IO, 0)
        if operation == READ:
            _, at, size = struct.unpack_from("=QQI", body)
            return os.pread(self.file, size, at)
        if operation == WRITE:
            _, at, size = struct.unpack_from("=QQI", body)
            return struct.pack("=II", os.pwrite(self.file, body[40:40 + size], at), 0)
        if operation == STATFS:
            return struct.pack("=QQQQQIII28x", 1 << 20, 1 << 19, 1 << 19, 10, 5, 4096, 255, 4096)
        if operation in (RELEASE, FSYNC, DESTROY):
            return b""
        # Also of FLUSH: it comes no more, so nobody is held up by closing the file, or by its own end.
        raise OSError(errno.ENOSYS, "")

    def attributes(self, node):
        """As stat(2) has them."""
        size = os.fstat(self.file).st_size
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
        return struct.pack("=QQQQQQIIIIIIIIII", node, size, (size + 511) // 512, 0, 0, 0, 0, 0, 0, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0)
