"""The base of all options in a model card: typed, closed, and dumped as the card has them."""

from __future__ import annotations

from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from millrace.schemas.frozen import Frozen


class Options(Frozen):
    """Options of a step or a network. A dump holds those that the card gives, and no defaults."""

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name in self.model_fields_set}
