"""The five lines of the public API, as they are printed, and what a run gives back."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from embedded import align, live, metrics, picture, saved, weights

import dagsdk
from dagsdk.errors import ModelError, RunFolderError, TrainingError
from dagsdk_shapes import MODEL_FOLDER

FIVE_LINES = """
    import dagsdk

    run = dagsdk.align(
        pipeline,
        prompts=["a cat", "a newt"],
        reward=lambda images, prompts: [float(image.mean()) for image in images],
        objective="dag-db", beta=10, epochs=50,
        output=None,
    )
    for epoch in run:
        print(epoch["reward/mean"])
    run.pipeline("a cat")
    run.save("cat-lora")
"""
FEWER = ("epochs=50", 'epochs=2, trajectories=4, rollout={"steps": 2}, samples=2')
"""The only difference from what is printed, so that the test takes seconds."""


@pytest.mark.parametrize("which", ["shapes", "tiny"])
def test_the_five_lines_run_as_printed(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """On the embedded model, as a live pipeline; and on a pipeline in a folder."""
    model = shapes() if which == "shapes" else str(saved(tmp_path / "tiny"))
    capfd.readouterr()
    monkeypatch.chdir(tmp_path)
    scope = {"pipeline": model}
    exec(textwrap.dedent(FIVE_LINES).replace(*FEWER), scope)  # noqa: S102
    shown = capfd.readouterr()
    assert len(shown.out.splitlines()) == 2, "the loop's own prints, and no others"
    fresh = shapes() if which == "shapes" else live()
    fresh.load_lora_weights("cat-lora")
    settings = {"num_inference_steps": 2, "guidance_scale": 5.0, "eta": 1.0, "output_type": "np"}
    theirs, ours = (
        pipeline("a cat", generator=torch.Generator().manual_seed(3), **settings).images[0]
        for pipeline in (fresh, scope["run"].pipeline)
    )
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def shapes() -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL_FOLDER, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_history_is_what_the_loop_gave() -> None:
    run = align(live())
    assert run.epoch == 0 and run.history == []
    seen = list(run)
    assert seen == run.history and [line["epoch"] for line in seen] == [1, 2] and run.epoch == 2
    assert {"reward/mean", "reward/std", "loss", "grad_norm/policy", "trajectories"} <= seen[0].keys()
    assert "evaluate/gain" in seen[-1] and "evaluate/gain" not in seen[0]
    assert list(run) == [], "all its epochs are trained"


def test_a_loop_can_be_taken_up_again_with_the_same_bits() -> None:
    whole, parts = align(live(), epochs=3).finish(), align(live(), epochs=3)
    for _ in range(3):
        for _ in parts:
            break
    assert parts.epoch == 3 and metrics(parts) == metrics(whole)
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(parts)[name])


def test_sample_draws_what_diffusers_draws_and_base_what_it_drew_before() -> None:
    pipeline = live()
    before = [picture(pipeline, seed) for seed in (5, 6)]
    run = align(pipeline).finish()
    for seed, (ours, base) in enumerate(zip(run.sample(["a cat"] * 2, seed=5), before, strict=True), 5):
        theirs = picture(pipeline, seed)
        np.testing.assert_allclose(np.asarray(ours) / 255, theirs, atol=1 / 254)
        assert not np.allclose(theirs, base, atol=1e-4), "training changed nothing"
    for ours, base in zip(run.sample(["a cat"] * 2, seed=5, base=True), before, strict=True):
        np.testing.assert_allclose(np.asarray(ours) / 255, base, atol=1 / 254)
    assert np.array_equal(run.sample("a cat", seed=6)[0], run.sample(["a cat"] * 2, seed=5)[1])
    assert np.array_equal(run.sample(dagsdk.Prompt("a cat"))[0], run.sample("a cat")[0])
    assert run.sample([]) == []


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_what_is_saved_is_what_is_sampled(ema: float, tmp_path: Path) -> None:
    """Also under `ema`: the live pipeline has the averaged weights between epochs, and so has the file."""
    run = align(live(), ema=ema, epochs=3)
    for epoch in run:
        run.save(tmp_path / "lora")
        fresh = live()
        fresh.load_lora_weights(tmp_path / "lora")
        np.testing.assert_allclose(picture(fresh), picture(run.pipeline), atol=1e-5)
        np.testing.assert_allclose(np.asarray(run.sample("a cat")[0]) / 255, picture(fresh), atol=1 / 254 + 1e-5)
        if epoch["epoch"] == 2:
            assert "dag-db" in (tmp_path / "lora" / "README.md").read_text(encoding="utf-8")


def test_the_average_is_not_the_last_weights() -> None:
    averaged, last = (align(live(), ema=ema).finish() for ema in (0.9, 0.0))
    assert metrics(averaged)[0]["reward/mean"] == metrics(last)[0]["reward/mean"]
    assert not np.allclose(picture(averaged.pipeline), picture(last.pipeline), atol=1e-4)


def test_evaluate_gives_the_metrics_of_the_last_epoch() -> None:
    run = align(live()).finish()
    found = run.evaluate()
    assert found == {key: value for key, value in run.history[-1].items() if key.startswith("evaluate")}
    assert found["evaluate/gain"] == pytest.approx(found["evaluate/mean"] - found["evaluate/base"], abs=1e-6)
    fresh = align(live()).evaluate()
    assert fresh["evaluate/gain"] == 0 and fresh["evaluate/base"] == found["evaluate/base"]


def test_held_out_prompts_are_the_evaluations_own() -> None:
    run = align(live(), held_out=["a dog"], evaluate={"every": 1}, samples=3)
    events = [event for event in run.events() if isinstance(event, dagsdk.EvaluationEvent)]
    assert [event.epoch for event in events] == [0, 1, 2]
    assert all(event.prompts == ["a dog"] * 3 for event in events)


def test_a_pipeline_that_is_given_is_the_one_that_is_aligned() -> None:
    pipeline = live()
    assert align(pipeline).pipeline is pipeline


def test_a_model_of_plain_vectors_has_no_pipeline_and_no_pictures() -> None:
    model = {"name": "vector", "width": 8, "pretrain": 0, "lora": {"rank": 2}}
    run = dagsdk.align(
        model,
        prompts=[""],
        reward=lambda points, prompts: -points.square().sum(1),
        train={"epochs": 1, "trajectories": 4, "learning_rate": 1e-2},
        steps=3,
        samples=2,
    ).finish()
    with pytest.raises(ModelError, match=r"run\.sample"):
        _ = run.pipeline
    with pytest.raises(ModelError, match="vectors"):
        run.sample("")


def test_train_reads_a_run_file_and_keywords_override_it(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        textwrap.dedent(f"""
            output = "{(tmp_path / "out").as_posix()}"
            trackers = []
            model = {{ name = "{saved(tmp_path / "tiny").as_posix()}", lora = {{ rank = 2 }} }}
            prompts = {{ name = "texts", texts = ["a cat", "a newt"] }}
            rewards = [{{ name = "jpeg-compressibility" }}]
            objective = {{ name = "dag-kl", beta = 1.0 }}
            rollout = {{ steps = 3 }}
            state_flow = {{ widths = [8, 8] }}
            train = {{ epochs = 9, trajectories = 4 }}
            evaluate = {{ samples = 2 }}
        """),
        encoding="utf-8",
    )
    run = dagsdk.train(file, epochs=2, output=None).finish()
    assert run.epoch == 2 and run.config.output is None and run.config.objective.name == "dag-kl"
    assert not (tmp_path / "out").exists()
    kept = dagsdk.train(file, epochs=2).finish()
    assert metrics(kept) == metrics(run) and (tmp_path / "out/metrics.jsonl").exists()
    with pytest.raises(RunFolderError, match="holds a run already"):
        dagsdk.train(file, epochs=2)
    again = dagsdk.train(file, epochs=2, resume=True)
    assert metrics(again) == metrics(run)


def test_a_closed_run_still_draws_but_does_not_train(tmp_path: Path) -> None:
    with align(live()) as run:
        run.finish()
    with pytest.raises(TrainingError, match="closed"):
        next(iter(run))
    assert run.sample("a cat") and run.save(tmp_path / "lora") == tmp_path / "lora"


def test_a_name_a_folder_and_a_live_pipeline_give_the_same_run(tmp_path: Path) -> None:
    folder = saved(tmp_path / "tiny")
    runs = [align(model).finish() for model in (live(), folder, str(folder))]
    assert metrics(runs[0]) == metrics(runs[1]) == metrics(runs[2])
