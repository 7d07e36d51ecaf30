"""Ports that are ours before anybody listens there."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved(address: str) -> Iterator[str]:
    """Keeps `host:port` for this process and its children, and gives it with a port where it said 0. Nobody else gets
    it, nor would share it by accident: an OSError says that it is taken."""
    host, _, port = address.rpartition(":")
    with ExitStack() as stack:
        number = int(port)
        for family, place in _places(host.strip("[]")):
            kept = stack.enter_context(socket.socket(family))
            number = _reserve(kept, place, number)
        yield f"{host}:{number}"


def _places(host: str) -> list[tuple[int, str]]:
    """Each once, as one address may come for several kinds of sockets."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _reserve(kept: socket.socket, host: str, port: int) -> int:
    if kept.family == socket.AF_INET6:
        kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # What is left of connections of before does not count, but whoever listens does.
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind((host, port))
    # From here on, those who share are let in, if they are of the same user; a second reservation is not.
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    number: int = kept.getsockname()[1]
    return number
