"""Rewards that ask a vision-language model about the image. Heavy libraries are loaded when a reward is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagsdk import RewardSpec, hookimpl
from dagsdk_vqa.options import LocalOptions, ServerOptions


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[Any]]:
    yield RewardSpec(
        name="vqa-server",
        summary="Share of questions about the image that a vision-language model on an HTTP server answers correctly",
        build="dagsdk_vqa.server:ServerReward",
        options=ServerOptions,
    )
    yield RewardSpec(
        name="vqa-local",
        summary="Share of questions about the image that a vision-language model of transformers answers correctly",
        build="dagsdk_vqa.local:LocalReward",
        options=LocalOptions,
        weights=("HuggingFaceTB/SmolVLM-256M-Instruct (0.5 GB)",),
    )
