"""What jobs may name: models that are offered and pictures that were uploaded, never a path."""

from __future__ import annotations

from collections.abc import Sequence

from studio.errors import RequestError
from studio.inputs import ALPHA, HASHED, PICTURES
from studio.pipelines.adapter_files import is_path
from studio.pipelines.components import ModelCard, card, models
from studio.pipelines.prompt_tags import lora_use
from studio.pipelines.request import Request


class Offered:
    """The models that jobs may use.

    Args:
        names: names of cards, or folders of weights; ``None`` is every model that is known.

    Raises:
        ModelError: one of them is not there.
    """

    def __init__(self, names: Sequence[str] | None) -> None:
        self._named = None if names is None else {card(name).name: name for name in names}

    def cards(self) -> list[ModelCard]:
        """What is known of each."""
        return [card(name) for name in self._names().values()]

    @property
    def default(self) -> str:
        """What a job draws with that names none: ``mini`` if it is offered, else the first."""
        names = list(self._names())
        usual = str(Request.model_fields["model"].default)
        return usual if usual in names or not names else names[0]

    def checked(self, request: Request) -> Request:
        """The request with its model named as the studio knows it.

        Raises:
            RequestError: it names what would open a file of the server that is not meant to be.
        """
        known, named = self._names(), "model" in request.model_fields_set
        model = request.model if named else self.default
        if model not in known and model not in known.values():
            raise RequestError("model", model, "unknown here", valid=", ".join(known))
        refiner = request.refiner
        if refiner is not None and refiner not in known and refiner not in known.values():
            raise RequestError("refiner", refiner, "unknown here", valid=", ".join(known))
        if any(mark in request.hires_upscaler for mark in "/\\"):
            raise RequestError(
                "hires_upscaler", request.hires_upscaler, "not a name", valid="a name"
            )
        for field in ("lora", "embedding", "vae"):
            value = getattr(request, field) or ()
            names = (value,) if isinstance(value, str) else value
            if field == "lora":
                names = tuple(lora_use(text).name for text in names)
            if any(is_path(name) for name in names):
                raise RequestError(field, value, "not a name", valid="a name, without its ending")
        for field in ("control", "ip_adapter"):
            value = getattr(request, field)
            if value is not None:
                raise RequestError(field, value, "not offered here", valid="it left out")
        for field in PICTURES:
            value = getattr(request, field)
            words = (ALPHA,) if field == "mask" else ()
            if value is not None and value not in words and not value.startswith(HASHED):
                valid = " or ".join([*words, f"{HASHED} and 64 hex digits, as the upload gave"])
                raise RequestError(field, value, "not an uploaded picture", valid=valid)
        fields = request.model_dump(include=request.model_fields_set)
        return Request.of(**{**fields, "model": known.get(model, model)})

    def _names(self) -> dict[str, str]:
        """What jobs may name, and what that is for the studio: the same, or a folder."""
        if self._named is not None:
            return self._named
        return {each.name: each.name for each in models()}
