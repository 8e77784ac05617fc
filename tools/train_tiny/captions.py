"""Words for pictures, in several styles, and their CLIP token ids."""

from __future__ import annotations

import numpy as np

from backend.encoders.clip.vocabulary import END, START, byte_pairs
from tools.train_tiny.draw import GRADED, PATTERNED, Picture, Thing

LENGTH = 77

PLACE_WORDS: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "at the left", "on the left side", "left"),
    "right": ("on the right", "at the right", "on the right side", "right"),
    "top": ("at the top", "on top", "in the upper half", "top"),
    "bottom": ("at the bottom", "in the lower half", "bottom"),
    "centre": ("in the centre", "in the center", "in the middle", "centered"),
    "top left": ("in the top left corner", "in the upper left", "top left"),
    "top right": ("in the top right corner", "in the upper right", "top right"),
    "bottom left": ("in the bottom left corner", "in the lower left", "bottom left"),
    "bottom right": ("in the bottom right corner", "in the lower right", "bottom right"),
}
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "small", "little", "tiny"),
    "medium": ("medium", "medium sized"),
    "large": ("large", "large", "big", "huge"),
}
OPENINGS = ("", "", "", "", "a picture of ", "an image of ", "a drawing of ", "an illustration of ", "a photo of ")


def pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def scenery(rng: np.random.Generator, name: str) -> str:
    """The background as a phrase."""
    if name == "night":
        return pick(rng, ("in front of a night sky", "on a night sky background", "at night"))
    if name == "sky":
        return pick(rng, ("in front of a sky", "on a sky background", "in the sky"))
    if name == "sunset":
        return pick(rng, ("in front of a sunset", "on a sunset background", "at sunset"))
    if name in PATTERNED:
        return pick(rng, (f"on a {name} background", f"on a {name} pattern", f"in front of a {name} background"))
    name = pick(rng, ("gray", "grey")) if name == "gray" else name
    return pick(
        rng, (f"on {article(name)} background", f"on {article(name)} background", f"on {name}", f"in front of {article(name)} background")
    )


def tag(name: str) -> str:
    """The background as a bare tag."""
    return f"{name} sky background" if name == "night" else f"{name} background"


def named(rng: np.random.Generator, thing: Thing) -> str:
    """Size (mostly), colour and shape. A middling size is mostly left unsaid."""
    said = rng.random() < (0.25 if thing.size == "medium" else 0.85)
    size = pick(rng, SIZE_WORDS[thing.size]) + " " if thing.size and said else ""
    return f"{size}{thing.colour} {thing.shape}"


def caption(picture: Picture, rng: np.random.Generator) -> str:
    """One wording. Unsaid places are mostly the centre, so that a prompt without a place gives a centred thing."""
    is_plain = picture.background not in GRADED and picture.background not in PATTERNED
    behind = rng.random() < (0.7 if is_plain else 0.95)
    if len(picture.things) == 2:
        return couple(picture, rng, behind)
    thing = picture.things[0]
    words = named(rng, thing)
    placed = rng.random() < (0.2 if thing.place == "centre" else 0.93)
    if rng.random() < 0.25:  # tags
        tags = [words]
        if placed:
            tags.append(PLACE_WORDS[thing.place][-1])
        if behind:
            tags.append(tag(picture.background))
        return ", ".join(tags)
    parts = [article(words)]
    tail = []
    if placed:
        tail.append(pick(rng, PLACE_WORDS[thing.place][:-1]))
    if behind:
        tail.append(scenery(rng, picture.background))
    if len(tail) == 2 and rng.random() < 0.35:
        tail.reverse()
    text = " ".join(parts + tail)
    return pick(rng, OPENINGS) + text


def couple(picture: Picture, rng: np.random.Generator, behind: bool) -> str:
    """A wording for two things."""
    first, second = (f"{t.colour} {t.shape}" for t in picture.things)
    relation = picture.relation
    if rng.random() < 0.3:  # the same said from the other side
        first, second = second, first
        relation = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[relation]
    if relation in ("left of", "right of"):
        link = pick(rng, (relation, f"to the {relation}", f"to the {relation}", f"on the {relation}"))
    else:
        link = pick(rng, (relation, relation, {"above": "over", "below": "under"}[relation]))
    if rng.random() < 0.2:
        text = f"{first} {relation} {second}"
        return f"{text}, {tag(picture.background)}" if behind else text
    if rng.random() < 0.15:
        text = f"{article(first)} and {article(second)}"
    else:
        text = f"{article(first)} {link} {article(second)}"
    if behind:
        text += " " + scenery(rng, picture.background)
    return pick(rng, OPENINGS) + text


def ids(text: str) -> list[int]:
    """LENGTH ids: start, the text, end, and end again as padding."""
    inner: list[int] = byte_pairs().encode(text, add_special_tokens=False).ids[: LENGTH - 2]
    return [START, *inner, *[END] * (LENGTH - 1 - len(inner))]
