"""Options of each prompt set. No library but attrs is loaded here."""

from __future__ import annotations

from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import and_, ge, le, min_len, optional

Split = Literal["train", "test", "all"]
Blank = Literal["error", "skip"]


def _with(placeholder: str) -> Any:
    def check(options: Any, attribute: Any, value: str) -> None:
        if placeholder not in value:
            raise ValueError(f"template must contain {placeholder}, where the name goes")

    return check


def _at_least_low(options: CountingOptions, attribute: Any, value: int) -> None:
    if value < options.low:
        raise ValueError(f"high must be >= low, which is {options.low}")


@frozen(kw_only=True)
class AnimalsOptions:
    """template: the prompt, with {animal} where the name goes."""

    template: str = field(default="{animal}", validator=_with("{animal}"))


@frozen(kw_only=True)
class ImagenetOptions:
    """template: the prompt, with {name} where the name of the class goes."""

    template: str = field(default="{name}", validator=_with("{name}"))


@frozen(kw_only=True)
class CountingOptions:
    """Options of `counting`.

    low, high: the smallest and the largest number, 1 to 100.
    animals: how many kinds of animal a prompt counts, 1 or 2.
    """

    low: int = field(default=2, validator=and_(ge(1), le(100)))
    high: int = field(default=9, validator=and_(ge(1), le(100), _at_least_low))
    animals: int = field(default=1, validator=and_(ge(1), le(2)))


@frozen(kw_only=True)
class SplitOptions:
    """split: "train", "test", or "all", which is both, one after the other."""

    split: Split = "train"


@frozen(kw_only=True)
class ListOptions(SplitOptions):
    """Options of `b2-colours` and `b2-relations`.

    split: as for `b2-activities`; without effect where `file` is given.
    file: a JSON list of strings, used as it is in place of the plugin's list; "" means the plugin's list.
    """

    file: str = ""


@frozen(kw_only=True)
class DrawBenchOptions(SplitOptions):
    """Options of `drawbench`.

    split: "train", "test" or "all".
    path: a CSV file with the columns Prompts and Category; "" means the Hub.
    dataset, revision: on the Hub, where no path is given.
    exclude: categories left out of all splits.
    held_out: how many prompts of each category, the first ones, are the test split.
    """

    path: str = ""
    dataset: str = field(default="shunk031/DrawBench", validator=min_len(1))
    revision: str | None = "refs/convert/parquet"
    exclude: tuple[str, ...] = ("Misspellings", "Rare Words")
    held_out: int = field(default=2, validator=ge(0))


Style = Literal["anime", "concept-art", "paintings", "photo"]


@frozen(kw_only=True)
class HpdOptions(SplitOptions):
    """Options of `hpdv2`.

    split: "train", "test" or "all".
    path: a folder with a STYLE.json for each style; "" means the Hub.
    dataset, revision: on the Hub, where no path is given.
    styles: which styles, in this order.
    held_out: how many prompts of each style, the first ones, are the test split.
    """

    path: str = ""
    dataset: str = field(default="ymhao/HPDv2", validator=min_len(1))
    revision: str | None = None
    styles: tuple[Style, ...] = field(default=("photo", "paintings"), validator=min_len(1))
    held_out: int = field(default=10, validator=ge(0))


@frozen(kw_only=True)
class PartiOptions:
    """Options of `parti`.

    path: a TSV or CSV file with the columns Prompt, Category and Challenge; "" means the Hub.
    dataset, revision: on the Hub, where no path is given.
    """

    path: str = ""
    dataset: str = field(default="nateraw/parti-prompts", validator=min_len(1))
    revision: str | None = None


@frozen(kw_only=True)
class FileOptions:
    """Options of `file`.

    path: of the file; a relative one begins at the working directory.
    format: "auto" means by the suffix: .txt, .jsonl or .ndjson, .csv, .tsv.
    text_column: the key or column of the prompt; the others become metadata.
    blank: whether an entry without a text is an "error", or skipped ("skip").
    limit: at most so many entries are used, from the beginning.
    """

    path: str = field(validator=min_len(1))
    format: Literal["auto", "text", "jsonl", "csv", "tsv"] = "auto"
    text_column: str = field(default="text", validator=min_len(1))
    blank: Blank = "error"
    limit: int | None = field(default=None, validator=optional(ge(1)))


@frozen(kw_only=True)
class HubOptions:
    """Options of `hub`.

    dataset: its id on the Hub (owner/name), or a folder of data files.
    subset: which configuration of it; None where it has only one.
    split: of the dataset, such as "train" or "test[:10%]".
    revision: a branch, tag or commit; None means the main branch.
    text_column: the column of the prompt.
    metadata_columns: columns that become metadata.
    blank: whether a row without a text is an "error", or skipped ("skip").
    limit: at most so many rows are used, from the beginning.
    """

    dataset: str = field(validator=min_len(1))
    subset: str | None = None
    split: str = field(default="train", validator=min_len(1))
    revision: str | None = None
    text_column: str = field(default="text", validator=min_len(1))
    metadata_columns: tuple[str, ...] = ()
    blank: Blank = "error"
    limit: int | None = field(default=None, validator=optional(ge(1)))
