"""Requests for streams that have come before, byte for byte, as those of whole layers do: what they mean is known."""

from collections.abc import Callable
from typing import Any, NamedTuple

from service.catalog import Layer
from service.codec.exports import FeatureStream
from service.codec.questions import QuestionReader
from service.codec.references import referenced
from service.domain import Export

MOST_KNOWN = 256
MOST_BYTES = 1024  # of a request that is remembered


class AskedExport(NamedTuple):
    """A request as it was sent, and what it means; or the message, where that is still to be found out."""

    sent: bytes
    export: Export | None
    message: Any  # a FeatureStream


class FamiliarExports:
    """Of StreamRadius, StreamIntersects and StreamFeatures."""

    def __init__(self, questions: QuestionReader) -> None:
        self._questions = questions
        self._known: dict[tuple[type[FeatureStream], bytes], tuple[Layer, Export]] = {}

    def reader(self, kind: type[FeatureStream]) -> Callable[[bytes], AskedExport]:
        """For requests of this kind. In the context of the call, which says what it may see. DecodeError where what was
        sent is no message."""

        def read(sent: bytes) -> AskedExport:
            known = self._known.get((kind, sent))
            if known is not None and self._questions.shows(known[0]):
                return AskedExport(sent, known[1], None)
            return AskedExport(sent, None, kind.FromString(sent))

        return read

    def learn(self, asked: AskedExport, export: Export) -> None:
        """That `asked` means `export`; but not of what concerns one call alone, or changes with the data."""
        message = asked.message
        of_its_own = message.freshness_token or message.resume_token or referenced(message)
        if of_its_own or len(asked.sent) > MOST_BYTES:
            return
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[type(message), asked.sent] = self._questions.layer_of(export.search.shape), export
