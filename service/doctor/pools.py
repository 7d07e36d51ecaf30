"""Checks of this process's connections."""

from collections.abc import Iterator, Sequence

from service.db.occupancy import Occupancy
from service.doctor.findings import Finding, Severity

_VARIABLES = {"read": "SPATIAL_POOL_SIZE", "bulk": "SPATIAL_BULK_POOL_SIZE"}


def full_pools(pools: Sequence[Occupancy]) -> Iterator[Finding]:
    for pool in pools:
        if pool.name in _VARIABLES and pool.in_use >= pool.size:
            message = (
                f"all {pool.size} connections of the {pool.name} pool are in use: further calls wait for one, and are "
                f"refused in the end; {_VARIABLES[pool.name]} says how many there may be"
            )
            details = {"pool": pool.name, "size": pool.size}
            yield Finding(Severity.WARNING, "full-pool", message, details=details)
