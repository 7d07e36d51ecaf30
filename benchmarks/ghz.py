"""gRPC by ghz, a generator that decodes every answer: what calls cost together with a client that reads them."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from benchmarks.environments import go_program
from benchmarks.load import WARM_UP_SECONDS, Load
from benchmarks.programs import output
from spatial.v1 import query_pb2


def ghz_load(port: int, method: str, requests: Sequence[Message], callers: int, seconds: float) -> Load:
    """Callers with a connection each, sending the requests in turn. Of `method` there is only one answer a call."""
    with tempfile.TemporaryDirectory() as folder:
        contract, data, report = (Path(folder) / name for name in ("contract", "data.json", "report.json"))
        contract.write_bytes(_contract().SerializeToString())
        data.write_text(json.dumps([json_format.MessageToDict(request) for request in requests]))
        call = method.strip("/").replace("/", ".")
        command: list[str | Path] = [go_program("ghz"), "--insecure", "--call", call, "--protoset", contract]
        command += ["--data-file", data, "--disable-template-data", "--disable-template-functions"]
        command += [f"--concurrency={callers}", f"--connections={callers}"]
        command += [f"--duration={seconds + WARM_UP_SECONDS}s", "--duration-stop=wait"]
        command += ["--format=json", "--output", report, f"127.0.0.1:{port}"]
        output(command)
        return parse_ghz(report.read_text())


def parse_ghz(text: str) -> Load:
    report: dict[str, Any] = json.loads(text)
    if set(report["statusCodeDistribution"]) != {"OK"}:
        raise RuntimeError(f"calls failed: {report['statusCodeDistribution']}")
    told = {float(each["percentage"]): each["latency"] / 1e6 for each in report["latencyDistribution"]}
    return Load(report["rps"], answered=report["count"], told=told)


def _contract() -> FileDescriptorSet:
    """The service's file, with all that it imports before it."""
    files: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        for needed in file.dependencies:
            add(needed)
        files[file.name] = file

    add(query_pb2.DESCRIPTOR)
    contract = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(contract.file.add())
    return contract
