"""Requests of the doctor, and what it found as messages."""

from collections.abc import Sequence

from google.protobuf.struct_pb2 import Struct

from service.catalog import Catalog, Layer
from service.codec.fields import at
from service.db.occupancy import Occupancy
from service.doctor.findings import Examination, Finding, SettingInEffect, Timing
from service.errors import InvalidArgument, Reason
from spatial.v1 import admin_pb2


def layers_named(catalog: Catalog, names: Sequence[str]) -> list[Layer]:
    """Those layers, each once; without any name, all that there are."""
    if not names:
        return list(catalog)
    found: dict[str, Layer] = {}
    for number, name in enumerate(names):
        with at(f"layers[{number}]"):
            found[name] = catalog[name]
    return list(found.values())


def analyzed_layer(catalog: Catalog, request: admin_pb2.AnalyzeLayerRequest) -> Layer:
    if not request.layer:
        raise InvalidArgument(Reason.REQUIRED, "layer must be set", field="layer")
    with at("layer"):
        return catalog[request.layer]


def diagnosis(examination: Examination, pools: Sequence[Occupancy]) -> admin_pb2.DiagnoseResponse:
    return admin_pb2.DiagnoseResponse(
        findings=[_finding(each) for each in examination.findings],
        versions=examination.versions,
        settings=[_setting(each) for each in examination.settings],
        pools=[
            admin_pb2.PoolState(name=each.name, size=each.size, in_use=each.in_use, idle=each.idle) for each in pools
        ],
        timings=[_timing(each) for each in examination.timings],
    )


def _finding(finding: Finding) -> admin_pb2.Finding:
    details = None
    if finding.details:
        details = Struct()
        details.update(finding.details)
    return admin_pb2.Finding(
        severity=f"SEVERITY_{finding.severity.name}",
        kind=finding.kind,
        layer=finding.layer,
        message=finding.message,
        statement=finding.statement,
        details=details,
    )


def _setting(setting: SettingInEffect) -> admin_pb2.SettingInEffect:
    return admin_pb2.SettingInEffect(name=setting.name, value=setting.value, recommended=setting.recommended)


def _timing(timing: Timing) -> admin_pb2.LayerTiming:
    return admin_pb2.LayerTiming(layer=timing.layer, milliseconds=timing.milliseconds, index=timing.by_index)
