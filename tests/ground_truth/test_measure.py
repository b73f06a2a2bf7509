"""Objectives, trained for a moment, go towards their target. `measure.py` trains them to the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fences import ROOT
from measure import main, measure, measured_once, metrics, sampled
from report import measured_runs, result_file, save_picture, table, variants_table, write_report
from settings import OBJECTIVES, RELATIVE, VARIANTS, run_tables
from target import EXAMPLE, TARGETS

from dagsdk import BuildContext
from dagsdk.config.files import load_run, resolved, structure_run
from dagsdk.models.options import VectorOptions
from dagsdk.models.vector import Vector
from dagsdk.registry import load_registry

for plugin in ("dagsdk_gfn", "dagsdk_nabla", "dagsdk_rl"):
    pytest.importorskip(plugin, reason="trains with objectives of plugins")
NINE = TARGETS["nine-modes"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    Vector.build(VectorOptions(pretrain=1000, log_snr=(-4.0, 5.0)), BuildContext()).save_network(folder)
    return str(folder)


def settings(pretrained: str, epochs: int) -> list[str]:
    return [f"model.folder={pretrained!r}", f"train.epochs={epochs}", "train.ema=0.95"]


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "target", "near"), [("tb", "nine-modes", 0.15), ("relative-tb", "ring", 0.25)])
def test_trajectory_balance_comes_near(
    pretrained: str, tmp_path: Path, objective: str, target: str, near: float
) -> None:
    known = TARGETS[target]
    measured = measure(known, run_tables(objective, target, tmp_path / "run", settings(pretrained, 100)), samples=5000)
    after = measured["after"]
    assert measured["before"]["total_variation"] > 0.25
    assert after["total_variation"] - floor(target) < near
    assert max(abs(a - b) for a, b in zip(after["weights"], known.exact_weights().tolist(), strict=True)) < 0.06


def floor(target: str, samples: int = 5000) -> float:
    """The total variation of as many exact samples."""
    return float(metrics(TARGETS[target], TARGETS[target].exact_samples(samples, seed=0))["total_variation"])


@pytest.mark.slow
def test_what_the_pretrained_model_makes_of_a_relative_objectives_target(pretrained: str) -> None:
    """p_ref exp(r), which cannot be nearer than the pretrained model is to its data, is near both targets."""
    tables = run_tables("relative-tb", "ring", Path("unused"), settings(pretrained, 1))
    run = structure_run(tables, load_registry(tables["plugins"]))
    points = sampled(Vector.load(Path(pretrained)), run, 10_000)
    for target in TARGETS.values():
        assert metrics(target, points, target.log_ratio(points).exp())["total_variation"] < 0.16


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("target", TARGETS)
def test_settings_are_runs(objective: str, target: str) -> None:
    tables = run_tables(objective, target, Path("unused"))
    run = structure_run(tables, load_registry(tables["plugins"]))
    assert run.rewards[0].options.target == target
    assert run.rewards[0].options.relative == (objective in RELATIVE)


def test_variants_are_other_runs(tmp_path: Path) -> None:
    for target, objective, changes in VARIANTS:
        plain, changed = (run_tables(objective, target, tmp_path, given) for given in ([], changes))
        registry = load_registry(plain["plugins"])
        assert resolved(structure_run(changed, registry)) != resolved(structure_run(plain, registry))
    assert len({result_file(tmp_path, *variant) for variant in VARIANTS}) == len(VARIANTS)


def test_the_example_is_the_run_of_the_table() -> None:
    example = EXAMPLE.with_suffix("").with_name("ground_truth.toml")
    registry = load_registry([EXAMPLE])
    runs = (load_run(example), run_tables("tb", "nine-modes", Path("unused")))
    ours, measured = (resolved(structure_run(run, registry)) for run in runs)
    for section in ("seed", "model", "prompts", "rewards", "objective", "rollout", "train"):
        assert ours[section] == measured[section]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run as short as can be."""
    small = {"model.pretrain": 0, "train.epochs": 1, "rollout.steps": 4}
    shortened = {name: {**OBJECTIVES[name], **small} for name in ("tb", "relative-tb")}
    monkeypatch.setattr("settings.OBJECTIVES", shortened)
    monkeypatch.setattr("measure.OBJECTIVES", shortened)
    monkeypatch.setattr("report.OBJECTIVES", shortened)
    for module in ("measure", "report"):
        monkeypatch.setattr(f"{module}.VARIANTS", [("ring", "tb", ["rollout.steps=3"])])
    monkeypatch.setattr("measure.SAMPLES", 500)
    monkeypatch.setattr("measure.AIM_SAMPLES", 500)


def test_what_is_measured_is_measured_once(short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measured_once(tmp_path, "ring", "tb")
    monkeypatch.setattr("measure.measure", lambda *given: pytest.fail("measured again"))
    assert measured_once(tmp_path, "ring", "tb") == first
    with pytest.raises(pytest.fail.Exception, match="again"):
        measured_once(tmp_path, "ring", "relative-tb")


def test_runs_with_settings_have_files_of_their_own(short: None, tmp_path: Path) -> None:
    given = measured_once(tmp_path, "ring", "tb", ["seed=3", 'rollout.variance="posterior"'])
    assert given["run"]["seed"] == 3 and given["run"]["rollout"]["variance"] == "posterior"
    assert [file.name for file in tmp_path.iterdir()] == ["ring-tb-seed=3-rollout.variance=posterior.json"]


def test_all_are_measured_and_reported(
    short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("report.PICTURE", tmp_path / "picture.png")
    main(["--all", "--results", str(tmp_path)])
    shown = capsys.readouterr().out
    runs = measured_runs(tmp_path)
    assert [list(runs[target]) for target in runs] == [["tb", "relative-tb"]] * len(TARGETS)
    for target, measured in runs.items():
        assert table(target, measured) in shown
        for run in measured.values():
            assert f"{run['after']['total_variation']:.3f}" in shown
    assert variants_table(tmp_path).splitlines()[-1] in shown
    assert "| `tb rollout.steps=3` | ring | 0." in shown
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_its_command_runs(tmp_path: Path) -> None:
    small = ["model.pretrain=2", "train.epochs=2", "rollout.steps=4"]
    words = [
        *("--objective", "rwr", "--target", "ring", "--samples", "500", "--every", "1", "--results", str(tmp_path)),
        *(word for key in small for word in ("--set", key)),
    ]
    command = [sys.executable, str(Path(__file__).with_name("measure.py")), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == " ".join(["rwr on ring", *small])
    assert [line.split()[0] for line in lines[:-1]] == ["1", "2", "exact", "before", "aim", "after"]
    [file] = tmp_path.iterdir()
    assert json.loads(file.read_text(encoding="utf-8"))["samples"] == 500


def test_a_table_names_the_part_that_is_farthest() -> None:
    weights = NINE.exact_weights().tolist()
    run: dict[str, Any] = {
        "exact": {"total_variation": 0.06},
        "before": {"total_variation": 0.4},
        "after": {"total_variation": 0.1, "weights": [*weights[:8], weights[8] + 0.1]},
        "aim": {"total_variation": 0.07},
        "run": {"train": {"epochs": 34}},
    }
    heads, _, row, _, floors = table("nine-modes", {"tb": run}).splitlines()
    assert heads.count("|") == row.count("|")
    assert row == f"| `tb` | 34 | 0.400 | 0.100 | {weights[8] + 0.1:.3f} | {weights[8]:.3f} |"
    assert "0.060" in floors and "0.070" in floors


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no results"):
        write_report(tmp_path)


def test_pictures_have_a_panel_for_what_is_there(tmp_path: Path) -> None:
    one = {"total_variation": 0.5, "masses": NINE.exact_masses().tolist()}
    save_picture({"nine-modes": {"tb": {"before": one, "after": one}}}, tmp_path / "a" / "picture.png")
    assert (tmp_path / "a" / "picture.png").stat().st_size < 300_000
