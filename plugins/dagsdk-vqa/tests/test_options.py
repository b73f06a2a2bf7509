from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import dagsdk_vqa
from dagsdk_vqa.options import LocalOptions, ServerOptions


def test_two_rewards_without_gradients_and_what_they_fetch() -> None:
    specs = {spec.name: spec for spec in dagsdk_vqa.dagsdk_rewards()}
    assert list(specs) == ["vqa-server", "vqa-local"]
    assert not any(spec.differentiable for spec in specs.values())
    assert specs["vqa-server"].weights == ()
    assert [weights.split(" ")[0] for weights in specs["vqa-local"].weights] == [LocalOptions().model]


def test_declaring_loads_nothing_heavy() -> None:
    code = (
        "import sys, dagsdk_vqa as d; list(d.dagsdk_rewards()); "
        "sys.exit(bool({'torch', 'httpx', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "localhost:8000/v1"},
        {"url": "ftp://host/v1"},
        {"url": "http:///v1"},
        {"url": "http://host:99999/v1"},
        {"url": "http://host/v1?key=1"},
        {"url": "http://name:secret@host/v1"},
        {"model": ""},
        {"key_env": "sk-not-a-name"},
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"concurrency": 1000},
        {"timeout": 0.0},
        {"retries": -1},
        {"retries": 21},
        {"backoff": -1.0},
        {"max_tokens": 0},
        {"top_logprobs": 21},
        {"fallback": 1.5},
        {"fallback": -0.1},
        {"template": "no place for it"},
        {"question": ""},
    ],
)
def test_values_outside_their_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises((ValueError, TypeError), match=name) as error:
        ServerOptions(**{"model": "m", **wrong})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"max_new_tokens": 0}, {"model": ""}, {"revision": ""}])
def test_local_values_outside_their_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises((ValueError, TypeError), match=name):
        LocalOptions(**wrong)
