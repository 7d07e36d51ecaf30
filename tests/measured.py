"""For `make coverage`: what a process measured is on disk before it can be ended.

pytest-xdist kills a worker that takes more than ten seconds to leave, which on a busy machine writing everything at the
very end does; and a worker that crashes has nothing to give. So it is written after each module.
"""

import pytest
from coverage import Coverage


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or nextitem.path != item.path:
        _save()


def pytest_sessionfinish() -> None:
    _save()


def _save() -> None:
    if measuring := Coverage.current():
        measuring.save()
