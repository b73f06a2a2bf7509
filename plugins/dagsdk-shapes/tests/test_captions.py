import pytest

from dagsdk_shapes.attributes import Attributes
from dagsdk_shapes.captions import WORDS, read, write
from dagsdk_shapes.prompts import (
    CaptionOptions,
    FreeCaptionOptions,
    free_prompts,
    held_out_prompts,
    training_prompts,
)


@pytest.mark.parametrize(
    ("attributes", "caption"),
    [
        (Attributes(), "a shape"),
        (Attributes(shape="star"), "a star"),
        (Attributes(shape="ring", colour="orange"), "an orange ring"),
        (Attributes(shape="ring", colour="orange", size="large"), "a large orange ring"),
        (Attributes(background="orange"), "a shape on an orange background"),
        (
            Attributes(shape="star", colour="red", background="blue", size="small"),
            "a small red star on a blue background",
        ),
    ],
)
def test_captions_read_as_written(attributes, caption):
    assert write(attributes) == caption
    assert read(caption) == attributes


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("RED star,  blue background!", Attributes(shape="star", colour="red", background="blue")),
        ("a ring on red", Attributes(shape="ring", background="red")),
        (
            "on the white background a small cross",
            Attributes(shape="cross", size="small", background="white"),
        ),
        ("a photo of a bored starling", Attributes()),
        ("", Attributes()),
    ],
)
def test_a_users_own_words_are_read(text, attributes):
    assert read(text) == attributes


def test_sets_agree_with_their_metadata_and_with_the_held_out_rule():
    training, held_out = training_prompts(CaptionOptions()), held_out_prompts(CaptionOptions())
    free = free_prompts(FreeCaptionOptions())
    assert (len(training), len(held_out), len(free)) == (1388, 144, 25)
    for prompt in (*training, *held_out, *free):
        assert read(prompt.text).named() == dict(prompt.metadata)
        assert set(prompt.text.split()) <= set(WORDS)
    assert not any(read(prompt.text).is_held_out for prompt in (*training, *free))
    assert all(read(prompt.text).is_held_out for prompt in held_out)
    assert len({prompt.text for prompt in training}) == len(training)
    assert "a shape" in {prompt.text for prompt in free}


def test_options_choose_and_order():
    assert all(len(p.metadata) == 2 for p in training_prompts(CaptionOptions(names_at_least=2, names_at_most=2)))
    few = training_prompts(CaptionOptions(count=5))
    assert few == training_prompts(CaptionOptions())[:5]
    assert few == training_prompts(CaptionOptions(count=5))
    assert few != training_prompts(CaptionOptions(count=5, seed=1))
    with pytest.raises(ValueError, match="names_at_most"):
        CaptionOptions(names_at_most=5)
    with pytest.raises(ValueError, match="count"):
        CaptionOptions(count=0)
