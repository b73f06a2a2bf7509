"""Adapters on a live pipeline: the host's, those of earlier runs, and ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from embedded import add_lora, align, live, metrics, picture, weights

from dagsdk.errors import ConfigError, ModelError, RunFolderError


def test_a_second_run_is_refused_until_the_first_is_closed() -> None:
    pipeline = live()
    first = align(pipeline)
    with pytest.raises(ModelError, match=r"another run that is still open.*close\(\)"):
        align(pipeline)
    first.close()
    second = align(pipeline)
    first.close()
    with pytest.raises(ModelError, match="another run"):
        align(pipeline)
    assert second.finish().epoch == 2


def test_a_second_run_keeps_what_the_first_trained() -> None:
    pipeline = live()
    base = picture(pipeline)
    with align(pipeline) as first:
        first.finish()
    aligned = picture(pipeline)
    assert not np.allclose(aligned, base, atol=1e-4)
    second = align(pipeline, seed=1)
    np.testing.assert_array_equal(picture(pipeline), aligned)
    second.finish()
    reference = np.asarray(second.sample("a cat", base=True)[0]) / 255
    np.testing.assert_allclose(reference, aligned, atol=1 / 254)
    assert not np.allclose(picture(pipeline), aligned, atol=1e-4)
    assert {"dagsdk", "dagsdk_2"} <= set(pipeline.unet.peft_config)


def test_a_run_that_nobody_holds_any_more_is_no_obstacle() -> None:
    pipeline = live()
    align(pipeline)
    align(pipeline)


def test_an_active_lora_of_the_host_stays_active_and_is_part_of_the_reference() -> None:
    pipeline = live()
    plain = picture(pipeline)
    add_lora(pipeline, "other")
    add_lora(pipeline, "style", seed=1)
    pipeline.set_adapters(["style"], [0.5])
    styled = picture(pipeline)
    assert not np.allclose(styled, plain, atol=1e-3)
    run = align(pipeline)
    np.testing.assert_array_equal(picture(pipeline), styled)
    assert set(pipeline.get_active_adapters()) == {"style", "dagsdk"}, "and the inactive one stays inactive"
    before = {name: weight for name, weight in weights(run).items() if "dagsdk" not in name}
    run.finish()
    assert set(pipeline.get_active_adapters()) == {"style", "dagsdk"}
    reference = np.asarray(run.sample("a cat", base=True)[0]) / 255
    np.testing.assert_allclose(reference, styled, atol=1 / 254)
    after = weights(run)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert not np.allclose(picture(pipeline), styled, atol=1e-4)


def test_a_lora_that_the_host_switched_off_stays_off() -> None:
    pipeline = live()
    plain = picture(pipeline)
    add_lora(pipeline, "style")
    pipeline.disable_lora()
    run = align(pipeline)
    np.testing.assert_allclose(picture(pipeline), plain, atol=1e-6)
    run.finish()
    np.testing.assert_allclose(np.asarray(run.sample("a cat", base=True)[0]) / 255, plain, atol=1 / 254)


def test_adapters_may_be_switched_between_epochs() -> None:
    """The run trains with those that were active when it was made, and the host finds its choice again."""
    undisturbed = align(live()).finish()
    pipeline = live()
    run = align(pipeline)
    for _ in run:
        pipeline.disable_lora()
        off = picture(pipeline)
        run.sample("a cat")
        np.testing.assert_array_equal(picture(pipeline), off)
    assert metrics(run) == metrics(undisturbed)
    pipeline.enable_lora()
    np.testing.assert_array_equal(picture(pipeline), picture(undisturbed.pipeline))


def test_a_fused_lora_is_refused_with_a_next_step_that_works() -> None:
    pipeline = live()
    add_lora(pipeline, "style")
    pipeline.fuse_lora()
    fused = picture(pipeline)
    with pytest.raises(ModelError, match=r"unload_lora_weights\(\)"):
        align(pipeline)
    np.testing.assert_array_equal(picture(pipeline), fused)
    pipeline.unload_lora_weights()
    run = align(pipeline).finish()
    np.testing.assert_allclose(np.asarray(run.sample("a cat", base=True)[0]) / 255, fused, atol=1 / 254)


@pytest.mark.parametrize("styled", [False, True])
def test_a_run_that_cannot_be_made_leaves_nothing_on_the_pipeline(styled: bool, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a file of the host's", encoding="utf-8")
    pipeline = live()
    if styled:
        add_lora(pipeline, "style")
    before = [(name, id(module), module.training) for name, module in pipeline.unet.named_modules()]
    keys = list(pipeline.unet.state_dict())
    with pytest.raises(RunFolderError, match="holds no run"):
        align(pipeline, output=tmp_path)
    with pytest.raises(ModelError, match="nowhere"):
        align(pipeline, lora={"targets": ["nowhere"]})
    with pytest.raises(ConfigError, match="fp16"):
        align(pipeline, mixed_precision="fp16")
    assert [(name, id(module), module.training) for name, module in pipeline.unet.named_modules()] == before
    assert list(pipeline.unet.state_dict()) == keys
    align(pipeline)
    assert "dagsdk_2" not in pipeline.unet.peft_config


def test_a_lora_that_the_host_loads_between_epochs_takes_no_part_in_training() -> None:
    undisturbed, pipeline = align(live()).finish(), live()
    run = align(pipeline)
    for _ in run:
        if "late" not in pipeline.unet.peft_config:
            add_lora(pipeline, "late", targets=["to_q", "conv1"])
        late = picture(pipeline)
        run.sample("a cat")
        np.testing.assert_array_equal(picture(pipeline), late)
    assert metrics(run) == metrics(undisturbed)
    assert not np.allclose(picture(pipeline), picture(undisturbed.pipeline), atol=1e-3)


def test_a_host_that_unloads_the_adapter_of_an_open_run_gets_an_error() -> None:
    pipeline = live()
    run = align(pipeline)
    pipeline.unload_lora_weights()
    with pytest.raises(ModelError, match=r"'dagsdk' is no longer on model .* call close\(\) before"):
        run.finish()


def test_diffusers_can_delete_the_adapter_of_a_closed_run() -> None:
    pipeline = live()
    base = picture(pipeline)
    align(pipeline).finish().close()
    pipeline.delete_adapters("dagsdk")
    np.testing.assert_allclose(picture(pipeline), base, atol=1e-6)
    assert align(pipeline).finish().epoch == 2 and "dagsdk_2" not in pipeline.unet.peft_config


def test_an_adapter_of_the_host_may_have_our_name() -> None:
    pipeline = live()
    add_lora(pipeline, "dagsdk")
    styled = picture(pipeline)
    run = align(pipeline).finish()
    np.testing.assert_allclose(np.asarray(run.sample("a cat", base=True)[0]) / 255, styled, atol=1 / 254)


def test_a_pipeline_in_half_precision_keeps_its_dtype(tmp_path: Path) -> None:
    pipeline = live().to(torch.bfloat16)
    run = align(pipeline, mixed_precision="bf16").finish()
    dtypes = {name: p.dtype for name, p in pipeline.unet.named_parameters()}
    assert {dtype for name, dtype in dtypes.items() if "dagsdk" not in name} == {torch.bfloat16}
    assert {dtype for name, dtype in dtypes.items() if "dagsdk" in name} == {torch.float32}
    assert np.isfinite(picture(pipeline)).all() and run.save(tmp_path)


def test_the_whole_network_of_a_live_pipeline(tmp_path: Path) -> None:
    pipeline = live().to(torch.bfloat16)
    with pytest.raises(RunFolderError):
        (tmp_path / "mine.txt").touch()
        align(pipeline, output=tmp_path, **{"model.train": "full"})
    assert {p.dtype for p in pipeline.unet.parameters()} == {torch.bfloat16}, "what could not begin changed nothing"
    pipeline = live()
    base = picture(pipeline)
    run = align(pipeline, learning_rate=1e-4, ema=0.5, **{"model.train": "full"}).finish()
    assert not np.allclose(picture(pipeline), base, atol=1e-4)
    np.testing.assert_allclose(np.asarray(run.sample("a cat", base=True)[0]) / 255, base, atol=1 / 254)
    with pytest.raises(ModelError, match="another run"):
        align(pipeline)
    run.close()
    np.testing.assert_allclose(np.asarray(run.sample("a cat")[0]) / 255, picture(pipeline), atol=1 / 254)
