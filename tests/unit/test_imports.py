"""Imports point one way, and each library stays in the part of the service that it is for."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[2] / "service"

# What each part may import of the others; observability and settings are for all.
MAY_IMPORT = {
    "errors": set(),
    "access": {"errors"},
    "domain": set(),
    "changes": {"domain"},
    "settings": set(),
    "observability": {"settings"},
    "geography": set(),
    "mapping": {"geography"},
    "models": {"geography", "mapping"},
    "catalog": {"access", "domain", "errors", "geography", "mapping", "models"},
    "db": {"catalog", "changes", "domain", "errors", "mapping", "settings", "observability"},
    "codec": {
        "catalog",
        "changes",
        "domain",
        "errors",
        "db.queries",
        "db.columns",
        "db.copy",
        "db.arrays",
        "db.batch",
        "db.boxes",
        "db.describe",
        "db.kinds",
        "db.problems",
        "db.explain",
        "db.joins",
        "db.grid",
        "db.occupancy",
        "db.packed",
        "doctor.findings",
    },
    "doctor": {"__version__", "catalog", "db", "domain", "errors", "models", "reflected.selection", "revisions"},
    "security": {"access", "errors", "observability", "settings"},
    "limits": set(),
    "heap": set(),
    "migrations": {"db.engine", "models", "revisions", "settings"},
    "revisions": set(),
    "postgres": set(),
    "embedded": {"postgres"},
    "demo": {"db.engine", "models"},
    "interceptors": {"access", "security", "domain", "errors", "limits", "observability", "settings"},
    "servicers": {"catalog", "changes", "codec", "db", "doctor", "domain", "errors", "interceptors.call", "reflected"},
    "reflected": {"catalog", "db", "errors"},
    "reflection": {"interceptors"},
    "health": {"db.ledger", "db.worker", "revisions"},
    "parts": {"catalog", "codec", "db", "heap", "observability", "reflected", "servicers.references", "settings"},
    "contract": {"codec", "db", "domain", "interceptors.errors", "observability", "parts", "servicers", "settings"},
    "doors": set(),
    "leaving": {"doors", "interceptors.running"},
    "workers": {
        "__version__",
        "db.direct",
        "db.occupancy",
        "doctor.budget",
        "doors",
        "errors",
        "observability",
        "reflected",
        "server",
        "settings",
    },
    "server": {
        "doors",
        "heap",
        "leaving",
        "security",
        "catalog",
        "health",
        "interceptors",
        "limits",
        "servicers.admin",
        "observability",
        "contract",
        "parts",
        "reflected",
        "reflection",
        "settings",
    },
    "loading": {
        "catalog",
        "changes",
        # Rows are checked as those of a caller are.
        "codec.arriving.geometries",
        "codec.systems",
        "codec.wkb_types",
        "db.engine",
        "db.imports.importer",
        "db.ledger",
        "errors",
        "mapping",
        "migrations",
        "observability",
        "reflected",
        "settings",
    },
    "cli": {
        "server",
        "workers",
        "settings",
        "migrations",
        "revisions",
        "embedded",
        "demo",
        "heap",
        "observability",
        "postgres",
        "reflected",
        # `spatial doctor` does without the server.
        "catalog",
        "changes",
        "codec.diagnoses",
        "db.address",
        "db.direct",
        "db.engine",
        "db.occupancy",
        "doctor",
        "errors",
        "loading",
        "security.callers",
        "security.errors",
    },
    "__main__": {"cli"},
    "__init__": set(),
}
# Which parts may import a library.
LIBRARIES = {
    "sqlalchemy": {
        "db",
        "loading.direct",
        "loading.creating",
        "loading.made",
        "loading.rows",
        "catalog",
        "reflected",
        "models",
        "mapping",
        "geography",
        "migrations",
        "revisions",
        "demo",
        "health",
        "parts",
        "cli",
    },
    "geoalchemy2": {"db", "loading.made", "catalog", "reflected", "models", "mapping", "geography", "migrations"},
    "psycopg2": {"db", "doctor", "reflected", "cli"},
    "grpc": {"security.certificates", "server", "servicers", "interceptors", "health", "reflection", "cli"},
    "grpc_health": {"server", "health", "cli"},
    "grpc_reflection": {"reflection"},
    "spatial": {
        *("codec", "servicers", "server", "reflection"),
        *("cli.query", "cli.explain", "cli.doctor", "cli.export", "cli.health"),
    },
    "prometheus_client": {
        "workers",
        "security.entrance",
        "loading.direct",
        "observability",
        "interceptors.metrics",
        "server",
        "db.engine",
    },
    "pydantic_settings": {"settings", "cli"},
    "click": {"cli", "__main__"},
    "alembic": {"migrations", "cli.migrate"},
    "opentelemetry": {"observability.tracing"},
}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(SERVICE.rglob("*.py")):
        parts = path.relative_to(SERVICE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(module: str) -> Iterator[str]:
    """Every module imported, also inside functions and for types."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(name: str, parts: set[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    part = module.split(".")[0]
    allowed = MAY_IMPORT[part] | {part, "__version__"}
    wrong = [
        name for name in imports(module) if name.startswith("service.") and not is_in(name.split(".", 1)[1], allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_where_they_belong(module: str) -> None:
    wrong = [
        name
        for name in imports(module)
        if name.split(".")[0] in LIBRARIES and not is_in(module, LIBRARIES[name.split(".")[0]])
    ]
    assert wrong == []


def test_the_environment_is_read_in_one_place() -> None:
    """Programs that are started get the environment that there is; settings are read from it by settings.py alone."""
    readers = [
        module for module, path in MODULES.items() if "os.environ" in path.read_text() or "getenv" in path.read_text()
    ]

    assert [module for module in readers if not is_in(module, {"postgres", "embedded"})] == []
