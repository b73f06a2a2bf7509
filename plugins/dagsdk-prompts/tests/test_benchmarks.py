"""Published benchmarks, by files in their formats with sentences of our own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dagsdk_prompts.benchmarks import drawbench, hpdv2, parti
from dagsdk_prompts.errors import PromptsError
from dagsdk_prompts.options import DrawBenchOptions, HpdOptions, PartiOptions


def test_drawbench_is_split_as_in_the_paper(drawbench_csv: Path) -> None:
    train, test, both = (
        drawbench(DrawBenchOptions(path=str(drawbench_csv), split=split)) for split in ("train", "test", "all")
    )
    assert (len(train), len(test)) == (165, 18)
    assert both == train + test and not set(train) & set(test)
    assert set(Counter(prompt.metadata["category"] for prompt in test).values()) == {2}
    assert not {prompt.metadata["category"] for prompt in both} & {"Misspellings", "Rare Words"}
    assert [p.text.split(",")[0] for p in test if p.metadata["category"] == "Text"] == [
        "Text: sentence 0",
        "Text: sentence 1",
    ]
    assert train[0].text == 'Colors: sentence 2, with "quotes",\nand two lines'


def test_all_of_drawbench_is_there_for_the_asking(drawbench_csv: Path) -> None:
    everything = DrawBenchOptions(path=str(drawbench_csv), exclude=(), held_out=0)
    assert len(drawbench(everything)) == 200


def test_drawbench_of_the_hub_has_lower_case_columns_and_labels(tmp_path: Path, drawbench_csv: Path) -> None:
    from datasets import Dataset

    local = drawbench(DrawBenchOptions(path=str(drawbench_csv), exclude=(), held_out=0))
    rows = [{"prompts": prompt.text, "category": prompt.metadata["category"]} for prompt in local]
    Dataset.from_list(rows).class_encode_column("category").to_parquet(tmp_path / "test.parquet")
    assert drawbench(DrawBenchOptions(dataset=str(tmp_path), exclude=(), held_out=0)) == local


def test_hpdv2_holds_out_the_first_ten_of_each_style(hpd_folder: Path) -> None:
    train, test = (hpdv2(HpdOptions(path=str(hpd_folder), split=split)) for split in ("train", "test"))
    assert (len(train), len(test)) == (1580, 20)
    assert [prompt.text for prompt in test] == [f"{style} {i}" for style in ("photo", "paintings") for i in range(10)]
    assert not set(train) & set(test)
    assert train[0].metadata == {"style": "photo"} and train[-1].metadata == {"style": "paintings"}
    assert len(hpdv2(HpdOptions(path=str(hpd_folder), styles=("anime",), split="all"))) == 800


def test_hpdv2_comes_from_the_cache_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "datasets--ymhao--HPDv2"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    benchmark = repository / "snapshots" / ("0" * 40) / "benchmark"
    benchmark.mkdir(parents=True)
    (benchmark / "photo.json").write_text(json.dumps([f"photo {i}" for i in range(12)]))
    assert [prompt.text for prompt in hpdv2(HpdOptions(styles=("photo",)))] == ["photo 10", "photo 11"]
    with pytest.raises(PromptsError, match=r"benchmark/anime.json of Hub dataset 'ymhao/HPDv2' cannot be loaded"):
        hpdv2(HpdOptions(styles=("anime",)))


def test_parti_keeps_quotation_marks_and_has_category_and_challenge(parti_tsv: Path) -> None:
    first, second = parti(PartiOptions(path=str(parti_tsv)))
    assert (first.text, first.metadata) == ('a sign, "keep off"', {"category": "Signs", "challenge": "Basic"})
    assert (second.text, second.metadata) == ('"yes" in neon', {"category": "Signs", "challenge": "Writing"})


@pytest.mark.parametrize(
    ("build", "options", "header", "says"),
    [
        (drawbench, DrawBenchOptions, "Text,Category", "there is no column 'Prompts'; there are 'Text', 'Category'"),
        (drawbench, DrawBenchOptions, "Prompts,Kind", "there is no column 'Category'; there are 'Kind'"),
        (parti, PartiOptions, "Prompt,Category", "there is no column 'Challenge'; there are 'Category'"),
    ],
)
def test_other_columns_are_one_clear_error(tmp_path: Path, build: Any, options: Any, header: str, says: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{header}\na,b\n")
    with pytest.raises(PromptsError, match=says):
        build(options(path=str(path)))


@pytest.mark.parametrize(
    ("build", "options"), [(drawbench, DrawBenchOptions()), (parti, PartiOptions()), (hpdv2, HpdOptions())]
)
def test_without_a_network_or_a_copy_there_is_one_clear_error(build: Any, options: Any) -> None:
    with pytest.raises(PromptsError, match=rf"Hub dataset '{options.dataset}'.*cannot be loaded.*check its name"):
        build(options)


@pytest.mark.parametrize(("build", "options"), [(drawbench, DrawBenchOptions), (hpdv2, HpdOptions)])
def test_a_path_that_leads_nowhere_is_one_clear_error(build: Any, options: Any, tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match="there is no such file"):
        build(options(path=str(tmp_path / "nowhere.csv")))


@pytest.mark.network
def test_published_sets_have_the_published_sizes() -> None:
    assert len(drawbench(DrawBenchOptions())) == 165
    assert len(hpdv2(HpdOptions())) == 1580
    assert 1600 < len(parti(PartiOptions())) < 1660  # the dataset page says 1.63 thousand
