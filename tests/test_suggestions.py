"""Which known name was meant."""

from __future__ import annotations

import pytest

from dagsdk.suggestions import closest, did_you_mean

REWARDS = ("aesthetic", "clip-score", "jpeg-compressibility", "jpeg-incompressibility", "vqa-local", "vqa-server")
JPEG = ["jpeg-compressibility", "jpeg-incompressibility"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("aestetic", ["aesthetic"]),
        ("Aesthetic", ["aesthetic"]),
        ("clipscore", ["clip-score"]),
        ("jpeg", JPEG),
        ("JPEG", JPEG),
        ("jpge", JPEG),
        ("vqa", ["vqa-local", "vqa-server"]),
        ("compressibility", ["jpeg-compressibility"]),
        ("score", ["clip-score"]),
        ("clip-score-large", ["clip-score"]),
        ("redness", []),
        ("j", []),
        ("", []),
    ],
)
def test_misspelt_shortened_and_partial_names(name: str, found: list[str]) -> None:
    assert closest(name, REWARDS) == found


def test_parts_of_keys() -> None:
    keys = ("epochs", "sample_batch", "micro_batch", "learning_rate", "noise_learning_rate")
    assert set(closest("batch", keys)) == {"sample_batch", "micro_batch"}
    assert closest("epoch", keys) == ["epochs"]
    assert closest("rate", keys)[0] == "learning_rate"


def test_no_more_than_asked_for_and_nothing_of_nothing() -> None:
    assert len(closest("shapes", [f"shapes-of-colour-{i}" for i in range(9)])) == 3
    assert closest("x", []) == []
    assert closest("dag", ["dag-db", "dag-db"]) == ["dag-db"]


def test_the_sentence() -> None:
    assert did_you_mean("bf17", ["no", "bf16", "fp16"]) == "did you mean 'bf16'?"
    assert did_you_mean("jpeg", REWARDS) == "did you mean 'jpeg-compressibility' or 'jpeg-incompressibility'?"
    assert did_you_mean("dag", ["dag-db", "dag-kl", "dag-tb"]) == "did you mean 'dag-db', 'dag-kl' or 'dag-tb'?"
    assert did_you_mean("redness", REWARDS) == ""
