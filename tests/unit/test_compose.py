"""What compose.yaml must keep to: a stack that starts in order, shows no database, and gives nothing away."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
DATABASE, MIGRATE, SERVICE = (COMPOSE["services"][name] for name in ("database", "migrate", "service"))
OURS = [pytest.param(MIGRATE, id="migrate"), pytest.param(SERVICE, id="service")]


def default(value: str) -> str:
    """What `${NAME:-default}` is when the variable is unset."""
    found = re.fullmatch(r"\$\{\w+:-(.+)\}", value)
    assert found, f"{value} is no variable with a default"
    return found[1]


def test_it_is_these_three_services() -> None:
    assert set(COMPOSE["services"]) == {"database", "migrate", "service"}


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("read_only", True),
        ("user", "10001:10001"),
        ("cap_drop", ["ALL"]),
        ("security_opt", ["no-new-privileges:true"]),
    ],
)
def test_our_containers_can_do_nothing_that_they_need_not(ours: dict[str, Any], key: str, expected: object) -> None:
    assert ours[key] == expected


@pytest.mark.parametrize("ours", OURS)
def test_our_containers_can_write_in_tmp_alone(ours: dict[str, Any]) -> None:
    assert [mount.split(":")[0] for mount in ours["tmpfs"]] == ["/tmp"]
    assert "volumes" not in ours


def test_the_schema_is_there_before_the_service_starts() -> None:
    assert MIGRATE["depends_on"]["database"]["condition"] == "service_healthy"
    assert SERVICE["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert MIGRATE["command"] == ["migrate"]
    assert MIGRATE["restart"] == "no"


def test_the_database_is_healthy_only_once_it_answers_over_tcp() -> None:
    assert DATABASE["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert "--host=127.0.0.1" in DATABASE["healthcheck"]["test"]


def test_the_database_is_reached_by_our_containers_alone() -> None:
    assert "ports" not in DATABASE
    assert DATABASE["networks"] == MIGRATE["networks"] == ["database"]
    assert COMPOSE["networks"]["database"]["internal"] is True


def test_the_service_is_published_on_loopback_alone() -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICE["ports"])


def test_the_service_is_given_longer_to_stop_than_it_drains() -> None:
    grace = float(SERVICE["environment"]["SPATIAL_GRACE_SECONDS"])
    assert float(SERVICE["stop_grace_period"].removesuffix("s")) > grace


@pytest.mark.parametrize("ours", OURS)
def test_the_password_comes_from_one_variable_and_is_in_no_url(ours: dict[str, Any]) -> None:
    assert ours["environment"]["PGPASSWORD"] == DATABASE["environment"]["POSTGRES_PASSWORD"]
    assert default(ours["environment"]["PGPASSWORD"])
    assert re.fullmatch(r"postgresql://\w+@database:5432/\w+", ours["environment"]["SPATIAL_DATABASE_URL"])


@pytest.mark.parametrize("ours", OURS)
def test_every_setting_is_one_that_the_service_has(ours: dict[str, Any]) -> None:
    names = {name.removeprefix("SPATIAL_").lower() for name in ours["environment"] if name.startswith("SPATIAL_")}
    assert names <= set(Settings.model_fields)


@pytest.mark.parametrize("ours", OURS)
def test_our_image_has_the_project_s_version(ours: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert default(ours["image"]) == f"spatial-service:{version}"


def test_the_database_s_image_is_pinned() -> None:
    assert re.fullmatch(r"postgis/postgis:\d+-\d+\.\d+", default(DATABASE["image"]))
