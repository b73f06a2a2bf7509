"""Words and phrases that were given up are in no page, docstring, comment, message or name.

Each entry of RETIRED has what to write instead. Where a word is right after all, its entry names what the lines look
like that may hold it.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from attrs import frozen
from fences import ROOT

KINDS = {".py", ".md", ".toml", ".tmpl", ".yml", ".yaml", ".cff", ".html"}
FOLDERS = ("dagsdk", "docs", "plugins", "tests", ".github")
UNITS = (
    "batch|call|caption|check|dimension|epoch|group|image|iteration|method|micro-batch|minute|network|page|pass|pixel|"
    "point|process|prompt|reward|row|run|sample|second|seed|state|step|target|task|text|trajectory|transition|update"
)
COUNTED = (
    "calls|captions|columns|draws|epochs|figures|gradients|images|lines|losses|minutes|numbers|passes|pictures|points|"
    "prompts|questions|rewards|rows|runs|samples|scores|seconds|seeds|states|steps|tables|trajectories|transitions|values"
)


PREPOSITIONS = "and|as|at|by|for|from|in|is|of|on|or|per|than|that|to|while|with"
NOT_A_SUBJECT = r"(?!'s| (?:cannot|gets?|has|is|names?|samples?|uses?|that|with)\b)"
SPACE = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:#[ \t]*)?)"


@frozen
class Retired:
    """pattern: what may not be there, in any case of its letters; a space stands for any white space.

    instead: what to write.
    allowed: patterns of lines in which it is right. files: those in which it is, such as "dagsdk/process/*".
    exact: letters have the case of the pattern.
    """

    pattern: str
    instead: str
    allowed: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    exact: bool = False

    @property
    def regex(self) -> re.Pattern[str]:
        """Finds it as a word, of which an underscore is no part, also where a line of text ends in it."""
        spaced = self.pattern.replace(" ", SPACE)
        return re.compile(f"(?<![A-Za-z])(?:{spaced})(?![A-Za-z])", 0 if self.exact else re.I)


RETIRED = (
    # --- words that meant two things, or something else elsewhere ---
    Retired(r"\w*famil(?:y|ies)\w*", "model", (r"MixtureSameFamily", r"family-names:", r"self\.family", r"font")),
    Retired(r"\w*figures?", "metrics, numbers; picture", (r"[Ff]igure\(|figure\.|matplotlib|figure: Figure|Figure$",)),
    Retired(
        r"scor(?:e|es|ed|er|ers|ing)|rescored?",
        "reward; `score` is the gradient of log p only",
        (
            r"[Cc][Ll][Ii][Pp][-_ ]?[Ss]core|[Pp]ick[-_ ]?[Ss]core|VQA[Ss]core|[Hh][Pp][Ss]",  # components, and papers
            r"scoring",  # an option of dagsdk-vqa
            r"log p|∇|[Bb]ackward[-_]?[Ss]cores|SCORES|batch\.scores",  # gradients
            r"[Ss]core matching|scores? in x_t|scores (?:and|of) ",
        ),
        (
            "dagsdk/engine/parts.py",
            "dagsdk/engine/transitions.py",
            "dagsdk/objectives/p*.py",
            "dagsdk/process/*",
            "dagsdk/testing/records.py",
            "dagsdk/testing/trajectories.py",
            "docs/reference/hooks/objectives.md",
            "plugins/dagsdk-nabla/*",
            "plugins/dagsdk-prompts/tests/*",  # a column of a data set
            "tests/engine/test_state_gradients.py",
            "tests/models/test_vector.py",
            "tests/objectives/*",
            "tests/process/*",
            "tests/testing/*",
        ),
    ),
    Retired(r"(?<!state[_\s])flow(?: |_)networks?", "state flow"),
    Retired(r"residual(?: |_)networks?", "flow gradient"),
    Retired(r"flow_learning_rate|next_flow_gradient", "auxiliary_learning_rate, next_gradient"),
    Retired(r"signal_levels?(?:_next)?", "alpha_bar"),
    Retired(r"\[flow\]|\[residual\]|(?<!state_)flow\.widths|residual\.widths", "[state_flow], [flow_gradient]"),
    Retired(r"Evaluators?", "TransitionBuilder", exact=True),
    Retired(r"class Mixture|Mixture(?=\(\[)", "RewardMixture, PromptMixture", exact=True),
    Retired(r"Needs\.GROUPS|needs GROUPS|unneeded", "compares_images", exact=True),
    Retired(
        r"dagsdk\.families|dagsdk\.checkpoints|dagsdk\.run_folder|dagsdk\.engine\.(?:trainer|components|loading)",
        "dagsdk.models, dagsdk.run",
    ),
    Retired(r"evaluation\.(?:fixed|scores)|reward_fixed|score_fixed", "dagsdk.evaluation.held_out, .paired"),
    # --- English that has to be decoded ---
    Retired(r"told|tells?|telling", "reported, says, shows", (r"\.tell\(\)",)),
    Retired(r"(?:go|goes|going|went|gone) on", "continue"),
    Retired(r"mend(?:s|ed|ing)?", "fix"),
    Retired(r"beside", "next to, with, in addition to; auxiliary"),
    Retired(r"(?:has|have|had) not(?=\s*[.;,:)\"'])", "does not have"),
    Retired(r"what this machine has not", "what this machine does not have"),
    Retired(r"(?:is|was|are|were) had", "is available, is reached"),
    Retired(r"the way back", "the reverse; say what happens"),
    Retired(r"all that has to be there", "needs only"),
    Retired(r"an error of the plugin's own", "an error raised by the plugin"),
    Retired(r"(?:is no|no) place; give an index", "has no such index; use 0 to n"),
    Retired(r"what no run file can", "what a run file cannot"),
    Retired(r"(?:has|have) all (?:its|their|of its) epochs", "is complete"),
    Retired(r"epoch of design|the weights of now", "the current weights"),
    Retired(r"what is a gradient in the state", "gradients with respect to the state"),
    Retired(r"from a total to what counts it|those of all lead to|which of them are its own", "say it plainly"),
    Retired(r"(?:is to|has to) find again", "the weights that the graph refers to"),
    Retired(r"what the reader can see", "say what it is"),
    Retired(r"the error is that of|whether that is so can be seen", "say it plainly"),
    Retired(r"what is not measured yet is", "whatever is missing is measured"),
    Retired(r"more of the same is no", "more of the same does not help"),
    Retired(r"as it began", "continues"),
    Retired(r"everybody (?:who|that)", "all that"),
    # --- "a" for "per" ---
    Retired(
        rf"(?:\d+|once|twice|(?:\d+|one|two|three|four|five|an?) (?!(?:{PREPOSITIONS}) )[\w-]+) "
        rf"an? (?:{UNITS}){NOT_A_SUBJECT}",
        "per",
    ),
    Retired(r"times an? (?:second|minute|epoch|step|run|call)(?!'s)", "per"),
    Retired(rf"(?:{COUNTED}) an? (?:{UNITS}){NOT_A_SUBJECT}", "per", (r"runs a run file",)),
)

EXEMPT = {"CHANGELOG.md": r"^Renamed during development.*?(?=\n\n|\Z)"}
"""Pages with a part that is about old words."""


def files() -> Iterator[Path]:
    folders = [ROOT / folder for folder in FOLDERS]
    for path in sorted([*ROOT.glob("*.*"), *(path for folder in folders for path in folder.rglob("*.*"))]):
        if path.suffix in KINDS and path.is_file() and path != Path(__file__) and "tokenizer" not in path.parts:
            yield path


def text_of(path: Path) -> str:
    """What is looked at; an exempt part is blank, so that lines keep their numbers."""
    text = path.read_text(encoding="utf-8")
    exempt = EXEMPT.get(str(path.relative_to(ROOT)))
    return re.sub(exempt, lambda part: "\n" * part[0].count("\n"), text, flags=re.M | re.S) if exempt else text


TEXTS = {str(path.relative_to(ROOT)): text_of(path) for path in files()}


def hits(retired: Retired, text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line in which it begins and is not right."""
    starts, lines = [0, *(match.end() for match in re.finditer("\n", text))], text.splitlines()
    for match in retired.regex.finditer(text):
        number = bisect(starts, match.start())
        line = lines[number - 1]
        if not any(re.search(pattern, line) for pattern in retired.allowed):
            yield number, line.strip()


@pytest.mark.parametrize("retired", RETIRED, ids=lambda retired: retired.pattern[:40])
def test_it_is_gone(retired: Retired) -> None:
    found = [
        f"{name}:{number}: {line[:140]}"
        for name, text in TEXTS.items()
        if not any(fnmatch(name, pattern) for pattern in retired.files)
        for number, line in hits(retired, text)
    ]
    assert not found, "\n".join([f"{len(found)} times; write: {retired.instead}", *found])


@pytest.mark.parametrize(
    ("pattern", "text", "lines"),
    [
        ("told", "is told\ntest_it_is_told_once\nbe Told", [1, 2, 3]),
        ("told", "untold", []),
        ("goes on", "it goes\n  # on", [1]),
        ("one", "\n\none", [3]),
    ],
)
def test_words_are_found_across_lines_and_in_names(pattern: str, text: str, lines: list[int]) -> None:
    assert [number for number, _ in hits(Retired(pattern, ""), text)] == lines


def test_lines_that_are_right_are_left_alone() -> None:
    assert not list(hits(Retired("figure", "", (r"figure\.",)), "figure.savefig(path)"))


def test_distributives_are_found_and_nothing_else() -> None:
    distributives = RETIRED[-3:]
    wrong = ["one loss a transition", "once an epoch", "a line a check", "images a prompt", "1517 transitions a second"]
    wrong += ["two images\n# a prompt", "three times a run", "1 an epoch"]
    assert all(any(list(hits(retired, text)) for retired in distributives) for text in wrong)
    right = [
        "images per prompt",
        "a run of two epochs",
        "how many images a prompt has",
        "β times a reward",
        "0 for a prompt",
    ]
    right += ["which prompts an epoch uses", "one of a step", "images.\n\n# A prompt"]
    assert not any(list(hits(retired, text)) for retired in distributives for text in right)


def test_pages_and_code_are_looked_at() -> None:
    assert {"README.md", "CHANGELOG.md", "dagsdk/cli/train.py", "docs/reference/run-file.md"} <= TEXTS.keys()
    assert any(name.endswith(".tmpl") for name in TEXTS)
    assert "family" not in TEXTS["CHANGELOG.md"]
