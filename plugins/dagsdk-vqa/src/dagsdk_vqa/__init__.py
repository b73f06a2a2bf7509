"""Rewards that ask a vision-language model about the image. Heavy libraries are loaded in `build` only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dagsdk import BuildContext, RewardSpec, hookimpl
from dagsdk_vqa.options import LocalOptions, ServerOptions

if TYPE_CHECKING:
    from dagsdk.rewards.protocol import Reward


def build_server(options: ServerOptions, context: BuildContext) -> Reward:
    """Connects to nothing: the server may be started later."""
    from dagsdk_vqa.chat import Chat, key_from
    from dagsdk_vqa.server import ServerReward

    return ServerReward(options, Chat(options, key_from(options.key_env)))


def build_local(options: LocalOptions, context: BuildContext) -> Reward:
    from dagsdk_vqa.loading import load
    from dagsdk_vqa.local import LocalReward

    return LocalReward(options, load(options, context))


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[Any]]:
    yield RewardSpec(
        name="vqa-server",
        summary="Share of questions about the image that a vision-language model behind an HTTP server answers right",
        build=build_server,
        options=ServerOptions,
    )
    yield RewardSpec(
        name="vqa-local",
        summary="Share of questions about the image that a vision-language model of transformers answers right",
        build=build_local,
        options=LocalOptions,
        weights=("HuggingFaceTB/SmolVLM-256M-Instruct (0.5 GB)",),
    )
