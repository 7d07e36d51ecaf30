import os
from contextlib import contextmanager
from collections.abc import Iterator
from service.migrations import upgrade
from benchmarks.database import fill
from benchmarks.programs import LOCAL
@contextmanager
def database_url() -> Iterator[str]:
    LOCAL.mkdir(parents=True, exist_ok=True)
    u='postgresql://postgres@127.0.0.1:54991/bench'
    upgrade(u); fill(u)
    yield u
