"""The listening sockets of this process: gRPC closes them only together with everything that it serves."""

import ctypes
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

# Linux's, which Python does not name.
SO_ATTACH_REUSEPORT_CBPF, SO_DETACH_REUSEPORT_BPF = 51, 68
RETURN_CONSTANT = 0x06  # a program of classic BPF: BPF_RET | BPF_K

FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Doors:
    """Those at these ports, whoever made them."""

    def __init__(self, *ports: int) -> None:
        self._ports = frozenset(ports)

    def lead_to(self, newest: int) -> None:
        """Among the processes that listen here, sends new connections to the one that was the `newest`th to begin,
        counted from 0; to all of them, as ever, once there is none of that number. Where the kernel knows no such
        thing, they come to all."""
        code = ctypes.create_string_buffer(struct.pack("HBBI", RETURN_CONSTANT, 0, 0, newest))
        program = struct.pack("HL", 1, ctypes.addressof(code))
        self._tell(SO_ATTACH_REUSEPORT_CBPF, program)

    def lead_to_all(self) -> None:
        self._tell(SO_DETACH_REUSEPORT_BPF, struct.pack("i", 0))

    def close(self) -> None:
        """Nobody comes in any more; who is in may stay. gRPC keeps its descriptors, and closes them in the end."""
        for _, descriptor in self._sockets(listening=True):
            with closing(socket.socket()) as nothing:
                os.dup2(nothing.fileno(), descriptor)

    def callers(self) -> int:
        """How many connections there are."""
        return sum(_has_caller(found) for found, _ in self._sockets(listening=False))

    def _tell(self, option: int, value: bytes) -> None:
        for door, _ in self._sockets(listening=True):
            with suppress(OSError):
                door.setsockopt(socket.SOL_SOCKET, option, value)

    def _sockets(self, *, listening: bool) -> Iterator[tuple[socket.socket, int]]:
        for descriptor in open_files():
            with suppress(OSError):  # closed meanwhile
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    with closing(socket.socket(fileno=os.dup(descriptor))) as found:
                        if self._is_ours(found) and _listens(found) is listening:
                            yield found, descriptor

    def _is_ours(self, found: socket.socket) -> bool:
        return found.family in FAMILIES and found.getsockname()[1] in self._ports


def open_files() -> list[int]:
    """The descriptors of this process; one of them was that of the listing, and is closed again."""
    return [int(entry.name) for entry in Path("/dev/fd").iterdir()]


def _has_caller(found: socket.socket) -> bool:
    try:
        return bool(found.getpeername())
    except OSError:
        return False


def _listens(found: socket.socket) -> bool:
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
