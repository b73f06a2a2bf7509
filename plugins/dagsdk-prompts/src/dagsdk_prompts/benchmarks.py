"""Prompts of published benchmarks. They are other people's text: read from a file or the Hub, and not shipped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from dagsdk import Prompt
from dagsdk_prompts.errors import PromptsError
from dagsdk_prompts.options import DrawBenchOptions, HpdOptions, HubOptions, PartiOptions
from dagsdk_prompts.reading import column, string_list
from dagsdk_prompts.splits import Prompts, first_held_out


def drawbench(options: DrawBenchOptions) -> Prompts:
    """DrawBench (arXiv 2205.11487), split as in DAG (arXiv 2406.00633)."""
    found = _table(options, "Prompts", ["Category"], hub_split="test")
    kept = (prompt for prompt in found if prompt.metadata["category"].strip() not in options.exclude)
    return first_held_out(kept, "category", options.held_out, options.split)


def hpdv2(options: HpdOptions) -> Prompts:
    """The benchmark of HPSv2 (arXiv 2306.09341), split as in DAG (arXiv 2406.00633)."""
    found = (Prompt(text, {"style": style}) for style in options.styles for text in string_list(_style(options, style)))
    return first_held_out(found, "style", options.held_out, options.split)


def parti(options: PartiOptions) -> Prompts:
    """PartiPrompts (arXiv 2206.10789)."""
    return tuple(_table(options, "Prompt", ["Category", "Challenge"], hub_split="train"))


def _style(options: HpdOptions, style: str) -> Path:
    if options.path:
        return Path(options.path).expanduser() / f"{style}.json"
    from dagsdk_prompts.hub import hub_file

    return hub_file(options.dataset, options.revision, f"benchmark/{style}.json")


def _table(
    options: DrawBenchOptions | PartiOptions, text: str, others: Sequence[str], hub_split: str
) -> Iterable[Prompt]:
    """A table from a file or the Hub. The other columns become metadata, with keys in lower case."""
    if not options.path:
        from dagsdk_prompts.hub import HubPrompts

        asked = HubOptions(
            dataset=options.dataset,
            revision=options.revision,
            split=hub_split,
            text_column=text,
            metadata_columns=tuple(others),
        )
        return [_renamed(prompt, others, options.dataset) for prompt in HubPrompts(asked)]
    from dagsdk_prompts.file import Scan, prompts

    found = prompts(Scan(Path(options.path).expanduser(), text_column=text))
    return [_renamed(prompt, others, options.path) for prompt in found]


def _renamed(prompt: Prompt, others: Sequence[str], where: str) -> Prompt:
    try:
        return Prompt(prompt.text, {name.lower(): prompt.metadata[column(name, prompt.metadata)] for name in others})
    except ValueError as error:
        raise PromptsError(f"{where}: {error}; add it, or give another file") from error
