"""The contract: generated code is what the protos say, and every part of them is explained."""

import filecmp
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

from service import errors
from spatial.v1 import errors_pb2

ROOT = Path(__file__).parents[2]
SourcePath = tuple[int, ...]
# Numbers of the fields in descriptor.proto through which a path in the source leads.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
NESTED_MESSAGES, NESTED_ENUMS, FIELDS, ENUM_VALUES, METHODS = 3, 4, 2, 2, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    image = tmp_path_factory.mktemp("image") / "image.binpb"
    subprocess.run([ROOT / "scripts/proto-image", "protos", image], check=True)
    everything = FileDescriptorSet.FromString(image.read_bytes()).file
    return [file for file in everything if file.package == "spatial.v1"]


def test_generated_code_is_what_the_protos_say(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts/proto", tmp_path], check=True)
    assert _differences(filecmp.dircmp(tmp_path, ROOT / "generated", ignore=["__pycache__"])) == []


def _differences(comparison: "filecmp.dircmp[str]") -> list[str]:
    found = comparison.left_only + comparison.right_only + comparison.diff_files
    return found + [name for folder in comparison.subdirs.values() for name in _differences(folder)]


def test_code_for_services_is_made_only_of_protos_that_have_one(files: list[FileDescriptorProto]) -> None:
    with_service = {f"{Path(file.name).stem}_pb2_grpc.py" for file in files if file.service}
    assert {path.name for path in (ROOT / "generated/spatial/v1").glob("*_grpc.py")} == with_service


def test_every_rpc_message_field_and_enum_value_is_explained(files: list[FileDescriptorProto]) -> None:
    assert [name for file in files for name in _uncommented(file)] == []


def _uncommented(file: FileDescriptorProto) -> Iterator[str]:
    places = file.source_code_info.location
    commented = {tuple(place.path) for place in places if place.leading_comments or place.trailing_comments}
    for path, name in _parts(file):
        if path not in commented:
            yield f"{file.name}: {name}"


def _parts(file: FileDescriptorProto) -> Iterator[tuple[SourcePath, str]]:
    for number, service in enumerate(file.service):
        yield (SERVICES, number), service.name
        for position, method in enumerate(service.method):
            yield (SERVICES, number, METHODS, position), f"{service.name}.{method.name}"
    for number, enum in enumerate(file.enum_type):
        yield from _enum_parts((ENUMS, number), enum)
    for number, message in enumerate(file.message_type):
        yield from _message_parts((MESSAGES, number), message)


def _message_parts(path: SourcePath, message: DescriptorProto) -> Iterator[tuple[SourcePath, str]]:
    if message.options.map_entry:
        return
    # What an RPC takes and gives is explained at the RPC.
    if not message.name.endswith(("Request", "Response")):
        yield path, message.name
    for number, field in enumerate(message.field):
        yield (*path, FIELDS, number), f"{message.name}.{field.name}"
    for number, enum in enumerate(message.enum_type):
        yield from _enum_parts((*path, NESTED_ENUMS, number), enum)
    for number, nested in enumerate(message.nested_type):
        yield from _message_parts((*path, NESTED_MESSAGES, number), nested)


def _enum_parts(path: SourcePath, enum: EnumDescriptorProto) -> Iterator[tuple[SourcePath, str]]:
    yield path, enum.name
    for number, value in enumerate(enum.value):
        yield (*path, ENUM_VALUES, number), f"{enum.name}.{value.name}"


def test_the_published_reasons_are_those_that_the_service_gives() -> None:
    published = {name.removeprefix("ERROR_REASON_") for name, _ in errors_pb2.ErrorReason.items()} - {"UNSPECIFIED"}
    assert published == set(errors.Reason)


def test_the_protos_keep_to_buf_s_standard_rules(tool: Callable[[str], str]) -> None:
    tool("buf")
    done = subprocess.run([ROOT / "scripts/proto-lint"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
