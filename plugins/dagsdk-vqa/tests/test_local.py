"""Rewards by a real model with random weights, against passes of that model made here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from dagsdk import BuildContext, Prompt
from dagsdk.errors import RewardError
from dagsdk.rewards.protocol import Reward
from dagsdk.testing.samples import images
from dagsdk_vqa.local import LocalReward
from dagsdk_vqa.options import LocalOptions

SHORT, LONG = "Is it red ?", "How many dogs are there and what else is in the picture of such things ?"


def build(folder: Path, mixed_precision: str = "no", **options: Any) -> Reward:
    given = {"model": str(folder), "template": "{question}", "scoring": "probability", **options}
    return LocalReward(LocalOptions(**given), BuildContext(mixed_precision=mixed_precision))


def asks(*pairs: tuple[str, Any]) -> Prompt:
    return Prompt("a picture", {"questions": [{"question": q, "answer": a} for q, a in pairs]})


@pytest.fixture(scope="module")
def pass_alone(tiny_vlm: Path):
    """One picture and one question, alone, without padding: probabilities of the next token, and the greedy answer."""
    model = AutoModelForImageTextToText.from_pretrained(tiny_vlm).eval()
    processor = AutoProcessor.from_pretrained(tiny_vlm)

    @torch.no_grad()
    def run(image: Tensor, question: str, tokens: int = 4) -> tuple[Tensor, str]:
        picture = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
        inputs = processor(
            text=f"User : <image>{question}<end_of_utterance>Assistant :",
            images=[picture],
            do_image_splitting=False,
            return_tensors="pt",
        )
        first, said = None, []
        for _ in range(tokens):
            logits = model(**inputs).logits[0, -1]
            first = logits.softmax(-1) if first is None else first
            said.append(int(logits.argmax()))
            if said[-1] == processor.tokenizer.eos_token_id:
                break
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([said[-1:]])], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return first, processor.tokenizer.decode(said, skip_special_tokens=True)

    run.ids = processor.tokenizer.get_vocab()
    return run


def test_the_probability_is_the_sum_over_the_answers_first_tokens(tiny_vlm: Path, pass_alone) -> None:
    pictures = images(2)
    prompts = [asks((SHORT, "yes")), asks((LONG, "no"), (SHORT, "3"))]
    rewards = build(tiny_vlm)(pictures, prompts)

    def expected(row: int, question: str, *words: str) -> float:
        return float(sum(pass_alone(pictures[row], question)[0][pass_alone.ids[word]] for word in words))

    first = expected(0, SHORT, "yes", "Yes")
    second = (expected(1, LONG, "no", "No") + expected(1, SHORT, "three", "Three")) / 2
    assert rewards.tolist() == pytest.approx([first, second], rel=1e-4)
    assert first > 1e-6 and second > 1e-6


def test_exact_rewards_the_greedy_answer(tiny_vlm: Path, pass_alone) -> None:
    pictures = images(3)
    said = [pass_alone(picture, question)[1] for picture, question in zip(pictures, (LONG, SHORT, LONG), strict=True)]
    assert all(said)
    prompts = [asks((LONG, said[0]), (LONG, "surely not")), asks((SHORT, said[1])), asks((LONG, "surely not"))]
    rewards = build(tiny_vlm, scoring="exact", max_new_tokens=4)(pictures, prompts)
    assert rewards.tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_padding_changes_nothing(tiny_vlm: Path, batch: int) -> None:
    pictures = images(3)
    prompts = [asks((SHORT, "yes")), asks((LONG, "yes"), (SHORT, "no")), asks((LONG * 3, "no"))]
    together = build(tiny_vlm, batch=batch)(pictures, prompts)
    alone = [build(tiny_vlm)(pictures[i : i + 1], prompts[i : i + 1]).item() for i in range(3)]
    assert together.tolist() == pytest.approx(alone, rel=1e-4)


def test_pictures_and_questions_both_matter(tiny_vlm: Path) -> None:
    reward = build(tiny_vlm)
    pictures = images(2)
    first, second = reward(pictures, [asks((SHORT, "yes"))] * 2)
    other, _ = reward(pictures, [asks((LONG, "yes"))] * 2)
    assert first != second and first != other


def test_tiles_are_seen_only_where_they_are_asked_for(tiny_vlm: Path) -> None:
    whole, tiled = build(tiny_vlm), build(tiny_vlm, tiles=True)
    pictures, prompts = images(2), [asks((SHORT, "yes"))] * 2
    shapes = [r._inputs([SHORT], [Image.new("RGB", (32, 32))])["pixel_values"].shape for r in (whole, tiled)]
    assert [tuple(shape[:2]) for shape in shapes] == [(1, 1), (1, 5)]
    assert not torch.allclose(whole(pictures, prompts), tiled(pictures, prompts))


def test_a_prompt_cannot_smuggle_in_an_image(tiny_vlm: Path) -> None:
    reward = build(tiny_vlm)
    marked = "<image> Is <end_of_utterance> it <fake_token_around_image> red ?"
    assert torch.equal(reward(images(1), [asks((marked, "yes"))]), reward(images(1), [asks((SHORT, "yes"))]))


def test_half_precision_is_near(tiny_vlm: Path) -> None:
    prompts = [asks((SHORT, "yes"), (LONG, "no"))] * 4
    full = build(tiny_vlm)(images(4), prompts)
    half = build(tiny_vlm, "bf16")(images(4), prompts)
    assert half.dtype == torch.float32
    assert half.tolist() == pytest.approx(full.tolist(), abs=0.02)


def test_an_answer_that_no_token_begins(tiny_vlm: Path) -> None:
    with pytest.raises(RewardError, match=r"answer 'zebra': no token of model .* begins it"):
        build(tiny_vlm)(images(1), [asks((SHORT, "zebra"))])


def test_no_images_have_no_rewards(tiny_vlm: Path) -> None:
    assert build(tiny_vlm)(torch.zeros(0, 3, 8, 8), []).shape == (0,)


def test_one_model_serves_two_rewards(tiny_vlm: Path) -> None:
    one, other = build(tiny_vlm), build(tiny_vlm, scoring="exact")
    assert one.model is other.model  # type: ignore[attr-defined]
    assert not any(parameter.requires_grad for parameter in one.model.parameters())  # type: ignore[attr-defined]


def copied(tiny_vlm: Path, folder: Path) -> Path:
    return Path(shutil.copytree(tiny_vlm, folder / "copy"))


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"model '.*nowhere' .* cannot be loaded: .*check `model`"):
        build(tmp_path / "nowhere")


def test_weights_that_do_not_fit(tiny_vlm: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied(tiny_vlm, tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["extra.weight"] = weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        RewardError, match=r"missing keys: lm_head.weight; unexpected keys: extra.weight|unexpected.*missing"
    ):
        build(folder)


def test_pickled_weights_are_not_loaded(tiny_vlm: Path, tmp_path: Path) -> None:
    folder = copied(tiny_vlm, tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(RewardError, match=r"cannot be loaded: .*safetensors"):
        build(folder)


def test_a_model_without_a_chat_template(tiny_vlm: Path, tmp_path: Path) -> None:
    folder = copied(tiny_vlm, tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(RewardError, match="has no chat template"):
        build(folder)


def test_a_model_of_another_kind(tiny_vlm: Path, tmp_path: Path) -> None:
    folder = copied(tiny_vlm, tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(RewardError, match="cannot be loaded"):
        build(folder)


@pytest.mark.network
def test_the_default_model_knows_colours() -> None:
    pictures = torch.zeros(2, 3, 256, 256)
    pictures[0, 0] = pictures[1, 2] = 1.0
    reward = LocalReward(LocalOptions(scoring="probability"), BuildContext())
    prompt = asks(("What colour is this image, red or blue?", "red"))
    of_red, of_blue = reward(pictures, [prompt] * 2).tolist()
    assert of_red > 0.5 > of_blue
