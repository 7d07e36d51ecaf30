"""Settings are checked and frozen before anything runs."""

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings

SERVICE = Path(__file__).parents[2] / "service"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SPATIAL_"):
            monkeypatch.delenv(name)


def test_everything_has_a_default_but_the_database() -> None:
    assert Settings().database_url is None
    assert [name for name, field in Settings.model_fields.items() if field.is_required()] == []


def test_a_setting_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPATIAL_POOL_SIZE", "9")
    monkeypatch.setenv("SPATIAL_POOL_TIMEOUT", "0.25")
    monkeypatch.setenv("SPATIAL_DATABASE_URL", "postgresql://a:b@c/d")
    monkeypatch.setenv("POOL_SIZE", "3")
    monkeypatch.setenv("SPATIAL_SOMETHING_ELSE", "of another version")
    settings = Settings()
    assert (settings.pool_size, settings.pool_timeout) == (9, 0.25)
    assert settings.database_url
    assert settings.database_url.get_secret_value() == "postgresql://a:b@c/d"


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.pool_size = 7  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lanes", "0"),
        ("lanes_per_shape", "0"),
        ("heavy_lanes", "0"),
        ("lane_batch", "-1"),
        ("lane_queue", "0"),
        ("pool_size", "0"),
        ("pool_size", "six"),
        ("pool_timeout", "0"),
        ("connect_timeout", "0"),
        ("statement_timeout", "0"),
        ("statement_timeout", "nan"),
        ("lock_timeout", "-1"),
        ("grace_seconds", "-1"),
        ("random_page_cost", "0"),
        ("max_request_bytes", "0"),
        ("max_vertices", "0"),
        ("max_geometry_depth", "0"),
        ("max_geometry_depth", "33"),
        ("max_radius", "0"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("health_interval", "0"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SPATIAL_{name.upper()}", value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert [problem["loc"] for problem in refused.value.errors()] == [(name,)]


def test_a_grace_period_may_be_none_at_all() -> None:
    assert Settings(grace_seconds=0).grace_seconds == 0


def test_the_password_is_not_in_what_is_printed_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPATIAL_DATABASE_URL", "postgresql://reader:secret@db/gis")
    assert "secret" not in f"{Settings()!r} {Settings()} {Settings().model_dump_json()}"


# Settings whose value may stand in a file, which are read with all settings.
IN_FILES = [name.removesuffix("_file") for name in ("database_url_file", "replica_urls_file")]


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name.removesuffix("_file") not in IN_FILES])
def test_each_setting_is_explained_and_read_by_somebody(name: str) -> None:
    assert len(Settings.model_fields[name].description or "") > 20
    readers = [path for path in SERVICE.rglob("*.py") if path.name != "settings.py" or path.parent.name == "cli"]
    assert any(re.search(rf"settings\.{name}\b", path.read_text()) for path in readers)


@pytest.mark.parametrize("name", IN_FILES)
def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text(" postgresql://reader:planted@db/gis\n")
    monkeypatch.setenv(f"SPATIAL_{name.upper()}_FILE", str(tmp_path / "secret"))
    settings = Settings()
    assert getattr(settings, name).get_secret_value() == "postgresql://reader:planted@db/gis"
    assert "planted" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"DATABASE_URL": "postgresql://a:planted@b/c"}, "only one can be set"),
        (
            {"DATABASE_URL_FILE": "/nowhere/secret"},
            "SPATIAL_DATABASE_URL_FILE: /nowhere/secret cannot be read: No such",
        ),
        ({"DATABASE_URL_FILE": "/proc/self/exe"}, "cannot be read: it is no text"),
    ],
)
def test_a_secret_s_file_that_cannot_be_meant_is_refused_without_quoting_a_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], said: str
) -> None:
    (tmp_path / "secret").write_text("postgresql://reader:planted@db/gis")
    for name, value in {"DATABASE_URL_FILE": str(tmp_path / "secret"), **given}.items():
        monkeypatch.setenv(f"SPATIAL_{name}", value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert said in str(refused.value)
    assert "planted" not in str(refused.value)


def test_nobody_else_reads_the_environment() -> None:
    reading = re.compile(r"os\.(environ|getenv)\b")
    readers = {str(path.relative_to(SERVICE)) for path in SERVICE.rglob("*.py") if reading.search(path.read_text())}
    assert readers <= {"embedded.py"}  # hands it on to the command that it runs


def test_the_pool_has_a_connection_for_every_lane() -> None:
    """As shipped, no call waits for a connection: the lanes are what calls wait for."""
    settings = Settings()
    assert settings.pool_size >= settings.lanes + settings.heavy_lanes
