"""Prompts written in the run file itself."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import min_len

from dagsdk.prompts.protocol import Prompt, PromptSet
from dagsdk.specs import BuildContext


@frozen(kw_only=True)
class TextsOptions:
    """Options of `texts`.

    texts: the prompts, at least one; an empty text asks for an unconditional sample.
    """

    texts: tuple[str, ...] = field(validator=min_len(1))


def build(options: TextsOptions, context: BuildContext) -> PromptSet:
    """The texts as prompts, in the order they are written in."""
    return tuple(Prompt(text) for text in options.texts)
