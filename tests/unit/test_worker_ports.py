"""A port that the supervisor keeps for its workers."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from service.doors import Doors
from service.workers.ports import reserved


@pytest.fixture
def kept() -> Iterator[tuple[str, int]]:
    with reserved("127.0.0.1:0") as address:
        host, _, port = address.rpartition(":")
        yield host, int(port)


def listener(place: tuple[str, int], *, sharing: bool) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(sharing))
    try:
        made.bind(place)
        made.listen(64)
    except OSError:
        made.close()
        raise
    return made


def test_who_shares_may_listen_there(kept: tuple[str, int]) -> None:
    with listener(kept, sharing=True), listener(kept, sharing=True):
        pass


def test_who_does_not_share_may_not(kept: tuple[str, int]) -> None:
    with pytest.raises(OSError, match="in use"):
        listener(kept, sharing=False)


def test_it_is_kept_once(kept: tuple[str, int]) -> None:
    with pytest.raises(OSError, match="in use"), reserved(f"{kept[0]}:{kept[1]}"):
        pass


@pytest.mark.parametrize("sharing", [True, False])
def test_a_port_where_somebody_listens_is_taken(sharing: bool) -> None:
    with listener(("127.0.0.1", 0), sharing=sharing) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match="in use"):
            reserved(taken).__enter__()


def test_new_connections_go_to_the_newest_and_later_to_all(kept: tuple[str, int]) -> None:
    doors = Doors(kept[1])
    with listener(kept, sharing=True) as old, listener(kept, sharing=True) as new, ExitStack() as stack:

        def connect(count: int) -> None:
            for _ in range(count):
                stack.enter_context(closing(socket.create_connection(kept)))

        doors.lead_to(1)
        connect(20)
        assert (waiting(old), waiting(new)) == (0, 20)
        doors.lead_to_all()
        connect(40)
        assert waiting(old) > 0
        assert waiting(new) > 0


def waiting(door: socket.socket) -> int:
    """How many connections it has; it has no more after that."""
    door.setblocking(False)
    count = 0
    try:
        while True:
            door.accept()[0].close()
            count += 1
    except BlockingIOError:
        return count


def test_a_closed_door_lets_nobody_in_and_leaves_alone_who_is(kept: tuple[str, int]) -> None:
    doors = Doors(kept[1])
    with listener(kept, sharing=True) as door, closing(socket.create_connection(kept)) as caller:
        inside, _ = door.accept()
        with inside:
            assert doors.callers() == 1
            doors.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(kept)
            inside.sendall(b"still here")
            assert caller.recv(20) == b"still here"
            assert doors.callers() == 1
        assert doors.callers() == 0
