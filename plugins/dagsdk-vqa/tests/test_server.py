"""Rewards by a real server on this machine, and what happens when it fails."""

from __future__ import annotations

import gc
import logging
import math
import time
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor

from dagsdk import Prompt
from dagsdk.errors import RewardError
from dagsdk_vqa.options import ServerOptions
from dagsdk_vqa.server import ServerReward, probability

KEY = "sk-very-secret-1234"


def build(server: Any, **options: Any) -> ServerReward:
    given = {"url": server.url, "model": "tiny", "backoff": 0.0, "timeout": 5.0, "retries": 2, **options}
    return ServerReward(ServerOptions(**given))


def asks(*pairs: tuple[str, Any]) -> Prompt:
    return Prompt("a colour", {"questions": [{"question": q, "answer": a} for q, a in pairs]})


def red(count: int) -> list[Prompt]:
    return [asks(("Is it red?", "yes"))] * count


def test_the_reward_is_the_share_of_right_answers(chat_server: Any, flat: Tensor) -> None:
    prompts = [
        asks(("Is it red?", "yes"), ("Is it blue?", "no")),
        asks(("Is it red?", "yes"), ("Is it green?", "yes")),
        asks(("Is it red?", "yes")),
        Prompt("something red"),
    ]
    rewards = build(chat_server)(flat, prompts)
    assert rewards.tolist() == [1.0, 0.5, 0.0, 1.0]
    assert rewards.dtype == torch.float32 and not rewards.requires_grad
    assert 'Does this image show "something red"? Answer yes or no.\nReply' in "".join(chat_server.texts)


def test_what_is_sent(chat_server: Any, flat: Tensor) -> None:
    build(chat_server, max_tokens=3)(flat[:1], red(1))
    (request,) = chat_server.requests
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("tiny", 3, 0)
    assert "logprobs" not in request and "Authorization" not in request["headers"]
    expected = (flat[0] * 255).round().byte().permute(1, 2, 0)
    assert torch.equal(torch.tensor(request["pixels"]), expected)  # PNG keeps every byte


def test_rewards_stay_in_order_when_answers_come_out_of_order(chat_server: Any, flat: Tensor, monkeypatch) -> None:
    answer, done = chat_server.answer, []

    def late(path: str, headers: Any, body: Any) -> Any:
        found = answer(path, headers, body)
        mean = float(chat_server.requests[-1]["pixels"].mean())
        time.sleep(0.3 if b"Yes" in found[1] else 0)
        done.append(mean)
        return found

    monkeypatch.setattr(chat_server, "answer", late)
    assert build(chat_server)(flat, red(4)).tolist() == [1, 0, 0, 1]
    assert len(done) == 4


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_at_once_than_allowed(chat_server: Any, flat: Tensor, concurrency: int) -> None:
    chat_server.delay = 0.05
    build(chat_server, concurrency=concurrency)(flat.repeat(3, 1, 1, 1), red(12))
    assert len(chat_server.requests) == 12
    assert chat_server.busiest == concurrency


def test_no_images_are_no_requests(chat_server: Any) -> None:
    assert build(chat_server)(torch.zeros(0, 3, 8, 8), []).shape == (0,)
    assert not chat_server.requests


@pytest.mark.parametrize("failure", [500, 503, 429, 408, b"<html>", b"{}", b'{"choices": []}', b"[1]", "", "  "])
def test_what_may_pass_is_tried_again_and_counted(chat_server: Any, flat: Tensor, failure: Any) -> None:
    chat_server.failures = [failure, failure]
    reward = build(chat_server)
    assert reward(flat[:1], red(1)).tolist() == [1.0]
    assert len(chat_server.requests) == 3
    assert reward.metrics() == {"asked": 1, "retried": 2, "unanswered": 0}
    assert reward.metrics() == {"asked": 0, "retried": 0, "unanswered": 0}


@pytest.mark.parametrize("failure", [503, b"<html>", ""])
def test_what_does_not_pass_is_one_error(chat_server: Any, flat: Tensor, failure: Any) -> None:
    chat_server.failures = [failure] * 9
    with pytest.raises(RewardError, match=r"no usable answer in 3 attempts.*set `fallback`") as error:
        build(chat_server)(flat[:1], red(1))
    assert chat_server.url in str(error.value)
    assert len(chat_server.requests) == 3


def test_the_fallback_is_used_and_counted(chat_server: Any, flat: Tensor) -> None:
    chat_server.failures = [503] * 3
    reward = build(chat_server, fallback=0.25, concurrency=1)
    rewards = reward(flat[:2], [asks(("Is it red?", "yes"), ("Is it blue?", "no")), *red(1)])
    assert rewards.tolist() == [(0.25 + 1) / 2, 0.0]
    assert reward.metrics() == {"asked": 3, "retried": 2, "unanswered": 1}
    assert reward.metrics()["unanswered"] == 0


def test_a_slow_server(chat_server: Any, flat: Tensor) -> None:
    chat_server.delay = 0.5
    reward = build(chat_server, timeout=0.05, retries=1)
    with pytest.raises(RewardError, match=r"2 attempts; the last one failed with ReadTimeout"):
        reward(flat[:1], red(1))
    assert build(chat_server, timeout=0.05, retries=1, fallback=0.5)(flat[:1], red(1)).tolist() == [0.5]


def test_a_server_that_is_down(chat_server: Any, flat: Tensor) -> None:
    reward = build(chat_server)
    chat_server.close()
    with pytest.raises(RewardError, match=r"3 attempts; the last one failed with ConnectError"):
        reward(flat, red(4))
    down = build(chat_server, fallback=0.0)
    assert down(flat, red(4)).tolist() == [0] * 4
    assert down.metrics() == {"asked": 4, "retried": 8, "unanswered": 4}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 301])
def test_a_refusal_ends_at_once_whatever_the_fallback(chat_server: Any, flat: Tensor, status: int) -> None:
    chat_server.failures = [status] * 9
    with pytest.raises(RewardError, match=rf"'tiny' with HTTP {status}: no luck today.*OPENAI_API_KEY \(not set\)"):
        build(chat_server, fallback=0.0)(flat[:1], red(1))
    assert len(chat_server.requests) == 1


def test_a_failure_ends_the_delays_of_other_questions(chat_server: Any, flat: Tensor) -> None:
    chat_server.failures = [401, 503, 503, 503]
    started = time.monotonic()
    with pytest.raises(RewardError):
        build(chat_server, backoff=30.0, concurrency=4, retries=9)(flat, red(4))
    assert time.monotonic() - started < 10


def test_the_key_is_sent_and_never_shown(chat_server: Any, flat: Tensor, monkeypatch, caplog, capsys) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", KEY)
    reward = build(chat_server, key_env="MY_KEY")
    reward(flat[:1], red(1))
    assert chat_server.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    shown = [repr(reward.options), repr(reward), repr(reward.chat)]
    for status, times in ((401, 1), (500, 3)):
        chat_server.failures = [status] * times
        with pytest.raises(RewardError) as error:
            reward(flat[:1], red(1))
        assert "[key]" in str(error.value)  # the server repeated it
        cause: BaseException | None = error.value
        while cause:
            shown.append(f"{cause!r} {cause}")
            cause = cause.__cause__ or cause.__context__
    printed = capsys.readouterr()
    assert KEY not in "".join([*shown, caplog.text, printed.out, printed.err])


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_no_header_holds(chat_server: Any, flat: Tensor, monkeypatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(RewardError, match="OPENAI_API_KEY") as error:
        build(chat_server)
    assert key not in str(error.value)


def test_a_key_may_end_in_a_line_break(chat_server: Any, flat: Tensor, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    build(chat_server)(flat[:1], red(1))
    assert chat_server.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"


def test_delays_double_up_to_a_minute(chat_server: Any, flat: Tensor, monkeypatch) -> None:
    delays: list[float] = []
    monkeypatch.setattr("dagsdk_vqa.chat.sleep_using_event", lambda stop: delays.append)
    chat_server.failures = [503] * 8
    assert build(chat_server, backoff=1.5, retries=8)(flat[:1], red(1)).tolist() == [1.0]
    assert delays == [1.5, 3, 6, 12, 24, 48, 60, 60]


def test_probability_is_that_of_the_first_token(chat_server: Any, flat: Tensor) -> None:
    prompts = [asks(("Is it red?", "yes")), asks(("Is it red?", "no")), asks(("Is it?", "yes"), ("Is it?", "no"))]
    rewards = build(chat_server, scoring="probability", top_logprobs=3)(flat[:3], prompts)
    brightness = (flat * 255).round().mean((1, 2, 3)) / 255
    assert rewards.tolist() == pytest.approx([float(brightness[0]), 1 - float(brightness[1]), 0.5])
    assert {(request["logprobs"], request["top_logprobs"]) for request in chat_server.requests} == {(True, 3)}


def test_a_server_without_probabilities(chat_server: Any, flat: Tensor) -> None:
    chat_server.reports = False
    with pytest.raises(RewardError, match=r"without log-probabilities, which scoring = \"probability\" needs"):
        build(chat_server, scoring="probability")(flat[:1], red(1))


def reported(first: str, p: float, **top: float) -> dict[str, Any]:
    entries = [{"token": token.replace("_", " "), "logprob": math.log(value)} for token, value in top.items()]
    return {"logprobs": {"content": [{"token": first, "logprob": math.log(p), "top_logprobs": entries}]}}


def test_probabilities_by_hand() -> None:
    choice = reported("Yes", 0.5, Yes=0.5, _yes=0.125, no=0.25, _No=0.0625, The=0.03125)
    assert probability(choice, "yes") == pytest.approx(0.625)
    assert probability(choice, "No.") == pytest.approx(0.3125)
    assert probability(choice, "maybe") == 0
    assert probability(reported("Three", 0.5, Three=0.5, **{"3": 0.25}), "3") == pytest.approx(0.75)
    assert probability(reported("Bi", 0.5, Bi=0.5, _bicycle=0.25, Cat=0.125), "bicycle") == pytest.approx(0.75)
    assert probability(reported("yes", 0.75), "yes") == pytest.approx(0.75)  # only the token itself is reported
    assert probability(reported("yes", 1.0, yes=1.0, Yes=1e-3), "yes") == 1  # rounding may go beyond


def test_an_impossible_address_is_refused_when_building() -> None:
    with pytest.raises(RewardError, match=r"url is 'http://\.\.ö/v1'"):
        ServerReward(ServerOptions(url="http://..ö/v1", model="m"))


def test_the_client_is_closed_with_the_reward(chat_server: Any, flat: Tensor) -> None:
    reward = build(chat_server)
    reward(flat[:1], red(1))
    client: httpx.Client = reward.chat.client
    assert not client.is_closed
    del reward
    gc.collect()
    assert client.is_closed
