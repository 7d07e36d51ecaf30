"""Which PostgreSQL processes run on this machine, and whether one answers."""

import os
import random
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Below the range that the kernel gives to outgoing connections: one of those could take the port during a restart.
PORTS = range(20_000, 32_000)
LONGEST_SOCKET_PATH = 107
MOMENT = 0.02
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def is_server(pid: int, data: Path) -> bool:
    """Whether this process is the first one of a server on `data`, and no mere namesake of a dead one."""
    words = _command_line(pid)
    if Path(words[0]).name != "postgres":
        return False
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except OSError:  # a container's root may not look at other users' processes that closely
        return str(data) in words


def backends(cluster_name: str) -> Iterator[int]:
    """The processes below the first one; they outlive it for a while when it is killed."""
    for folder in Path("/proc").glob("[0-9]*"):
        if _command_line(int(folder.name))[0].startswith(f"postgres: {cluster_name}: "):
            yield int(folder.name)


def _command_line(pid: int) -> list[str]:
    """The words of a command; empty for a process that is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return [""]


def is_alive(pid: int) -> bool:
    return _command_line(pid) != [""]


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def answers(port: int) -> bool:
    """Whether a server takes connections there: it answers the question for TLS with a letter, whoever asks."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(SSL_REQUEST)
            return connection.recv(1) in (b"S", b"N")
    except OSError:
        return False


def free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port on 127.0.0.1 from {PORTS.start} to {PORTS.stop - 1}")


def fits_socket(folder: Path) -> bool:
    """Whether a socket's path in this folder is short enough for the kernel."""
    return len(os.fsencode(folder / f".s.PGSQL.{PORTS.stop}")) <= LONGEST_SOCKET_PATH


def wait(deadline: float, complaint: str) -> None:
    """One short sleep in a loop that ends with `complaint` when its time is up."""
    if time.monotonic() > deadline:
        raise TimeoutError(complaint)
    time.sleep(MOMENT)
