"""Whether a file holds SAM 3's text encoder, read from key names and shapes alone."""

from __future__ import annotations

import functools

from backend.base.errors import BadFile
from backend.encoders.clip.net import ClipText
from backend.encoders.clip.spec import Place, check, parts_at, sizes_of
from backend.encoders.phrases.handle import PhraseHandle
from backend.encoders.text import Found
from backend.memory.pool import Loadable
from backend.weights.file import Views
from backend.weights.keymap import MappedNames

AUTHORS = "detector.backbone.language_backbone.encoder."
PLACES = (
    (Place("SAM 3, or its text encoder alone", AUTHORS, open=True), None),
    (Place("SAM 3 as it was trained", f"model.{AUTHORS}", open=True), None),
    (Place("SAM 3 as transformers saves it", "detector_model.text_encoder."), "detector_model.detr_decoder.presence_token.weight"),
    (Place("the finding half of SAM 3", "text_encoder."), "detr_decoder.presence_token.weight"),
)
"""Where it is, and where other encoders lie so too, a weight beside it that no other model has."""


def text_encoders(found: Found) -> list[PhraseHandle]:
    """SAM 3's text encoder, if the file holds it. Raises BadFile for one that is incomplete."""
    for place, beside in PLACES:
        parts = parts_at(place, found.file) if beside is None or beside in found.file else {}
        parts = {name: part for name, part in parts.items() if name != "text_projection.weight"}
        if not parts:
            continue
        where = found.file.path.name
        shapes = {name: part.shape(tuple(found.file[part.key].shape)) for name, part in parts.items()}
        try:
            sizes = sizes_of(shapes, quick=False)
        except KeyError as error:
            text = f"{where} holds SAM 3's text encoder without the weight {error.args[0]}."
            raise BadFile(text, hint="The file is incomplete; fetch it again.", file=found.file.path) from error
        check(sizes, shapes, where)
        loadable = Loadable(found.key, functools.partial(ClipText, sizes), Views(MappedNames(found.file, parts)), dtype=found.dtype)
        return [PhraseHandle(loadable, sizes)]
    return []
