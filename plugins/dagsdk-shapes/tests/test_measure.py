import json
import math

import pytest
import torch
from PIL import Image

from dagsdk.prompts.protocol import Prompt
from dagsdk_shapes.attributes import Attributes
from dagsdk_shapes.drawing import draw
from dagsdk_shapes.measure import attributes, entropy, main, measure


def pictures(*scenes):
    return draw(torch.tensor(scenes), torch.Generator().manual_seed(0))


def write_folder(folder, images, prompts):
    folder.mkdir()
    lines = []
    for number, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
        name = f"{number:05}.png"
        Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy()).save(folder / name)
        lines.append(json.dumps({"file": name, "prompt": prompt, "seed": number}))
    (folder / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


def test_entropy_is_in_nats():
    assert entropy(["a", "b", "a", "b", None]) == pytest.approx(math.log(2))
    assert entropy(["a", "a"]) == 0
    assert entropy([None]) == 0


def test_attributes_are_named():
    assert attributes(pictures((3, 6, 2, 1))) == [
        Attributes(shape="star", colour="white", background="blue", size="large")
    ]


def test_entropy_is_pooled_by_prompt_over_what_the_prompt_leaves_free():
    images = pictures((3, 6, 2, 1), (3, 0, 2, 1), (0, 6, 2, 1), (0, 6, 2, 1))
    found = measure(images, [Prompt(text) for text in ("a star", "a star", "a circle", "a circle")])
    assert (found.images, found.prompts, found.match, found.full) == (4, 2, 1, 1)
    assert "shape" not in found.entropy
    assert found.entropy == pytest.approx({"colour": math.log(2) / 2, "background": 0, "size": 0})


def test_command_compares_folders(tmp_path, capsys):
    varied = pictures((3, 6, 2, 1), (3, 0, 2, 1), (3, 1, 2, 0), (3, 2, 0, 0))
    uniform = pictures(*[(3, 6, 2, 1)] * 4)
    first = write_folder(tmp_path / "first", varied, ["a star"] * 4)
    second = write_folder(tmp_path / "second", uniform, ["a star"] * 3 + ["a ring"])
    assert main([first, second, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[first]["entropy"]["colour"] == pytest.approx(math.log(4))
    assert found[second]["entropy"]["colour"] == 0
    assert found[second]["match"] == pytest.approx(0.75)
    assert found[second]["match_error"] == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    assert main([first, second]) == 0
    assert "0.000 (x0.00)" in capsys.readouterr().out


def test_unreadable_folders_are_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "samples.jsonl does not exist" in capsys.readouterr().err
    (tmp_path / "samples.jsonl").write_text('{"prompt": "a star"}\n', encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert "line 1" in capsys.readouterr().err
