"""What the Dockerfile must keep to; that the image builds and runs is shown by building and running it."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).parents[2]
Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """The instructions in order, with comments dropped and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    logical = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name.upper(), rest.strip()) for line in logical if line.strip() for name, rest in [line.split(maxsplit=1)]]


INSTRUCTIONS = instructions((ROOT / "Dockerfile").read_text())
LAST_FROM = max(index for index, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
RESULT = INSTRUCTIONS[LAST_FROM:]


def of(name: str, within: list[Instruction] = RESULT) -> list[str]:
    return [rest for instruction, rest in within if instruction == name]


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for line in of("ENV") for word in shlex.split(line))


def test_every_stage_starts_from_the_one_base_that_an_argument_names() -> None:
    assert of("ARG", INSTRUCTIONS)[0] == "PYTHON_IMAGE=python:3.11-slim-bookworm"
    assert [line.split()[0] for line in of("FROM", INSTRUCTIONS)] == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("ENTRYPOINT", ["spatial"]),
        ("CMD", ["serve"]),
    ],
)
def test_the_command_is_in_exec_form_so_that_signals_reach_the_service(instruction: str, expected: list[str]) -> None:
    assert [json.loads(line) for line in of(instruction)] == [expected]


def test_health_is_asked_by_the_service_s_own_command_and_without_a_shell() -> None:
    (check,) = of("HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == ["spatial", "health"]


def test_the_user_is_a_number_other_than_root_s() -> None:
    (user,) = of("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_it_stops_on_the_signal_that_drains() -> None:
    assert of("STOPSIGNAL") == ["SIGTERM"]


def test_every_package_from_outside_is_a_wheel_checked_by_its_hash() -> None:
    installs = [command for command in of("RUN", INSTRUCTIONS) if re.search(r"\bpip\b.* install ", command)]
    assert len(installs) == 3
    for command in installs:
        assert {"--require-hashes", "--only-binary=:all:"} <= set(command.split()) or "--no-index" in command


def test_the_build_backend_s_pins_are_all_in_the_development_lock() -> None:
    (names,) = re.findall(r"\^\(([^)]+)\)==", (ROOT / "Dockerfile").read_text())
    locked = re.findall(r"^([\w-]+)==", (ROOT / "requirements-dev.lock").read_text(), flags=re.MULTILINE)
    assert set(names.split("|")) <= set(locked)


def test_the_result_gets_no_packages_and_no_sources_only_the_built_environment() -> None:
    assert not re.search(r"\b(apt|apt-get|pip)\b", " ".join(of("RUN")))
    assert of("COPY") == ["--from=build /opt/spatial /opt/spatial"]


def test_the_settings_in_the_image_are_settings_of_the_service() -> None:
    values = {name: value for name, value in environment().items() if name.startswith("SPATIAL_")}
    fields = {name.removeprefix("SPATIAL_").lower(): value for name, value in values.items()}
    assert set(fields) <= set(Settings.model_fields)
    assert {fields["listen"], fields["metrics_listen"]} == {"0.0.0.0:50051", "0.0.0.0:9464"}


def test_the_exposed_ports_are_those_listened_on() -> None:
    ports = {environment()[name].rsplit(":", 1)[1] for name in ("SPATIAL_LISTEN", "SPATIAL_METRICS_LISTEN")}
    assert set(" ".join(of("EXPOSE")).split()) == ports


def test_the_version_label_is_the_project_s_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in of("ARG")
    assert 'org.opencontainers.image.version="${VERSION}"' in " ".join(of("LABEL"))
