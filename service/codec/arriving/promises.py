"""What requests that change something have in common: their id, and that their layer may be changed."""

from typing import Any

from service.catalog import Catalog, Layer
from service.changes import Promise
from service.codec.fields import at
from service.codec.tokens import fingerprint
from service.errors import FailedPrecondition, InvalidArgument, Reason

LONGEST_ID = 128


def promise_of(request: Any) -> Promise | None:
    """That it takes effect once, if it has a `request_id`."""
    if not request.request_id:
        return None
    return Promise(checked_id(request.request_id, "request_id"), fingerprint(request, "request_id"))


def checked_id(text: str, field: str) -> str:
    """An id that a caller made."""
    if len(text) > LONGEST_ID or not text.isprintable():
        raise InvalidArgument(
            Reason.OUT_OF_RANGE,
            f"{field} has up to {LONGEST_ID} characters, all of them printable",
            field=field,
            metadata={"limit": str(LONGEST_ID)},
        )
    return text


def writable_layer(catalog: Catalog, name: str) -> Layer:
    if not name:
        raise InvalidArgument(Reason.REQUIRED, "layer must be set", field="layer")
    with at("layer"):
        layer = catalog[name]
    check_writable(layer, "layer")
    return layer


def check_writable(layer: Layer, field: str) -> None:
    if not layer.writable:
        why = f": {layer.read_only}" if layer.read_only else ""
        raise FailedPrecondition(
            Reason.LAYER_READ_ONLY,
            f"layer {layer.name!r} takes no changes{why}",
            field=field,
            metadata={"layer": layer.name},
        )
