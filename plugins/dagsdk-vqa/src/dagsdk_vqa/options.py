"""Options of the two rewards. No torch here."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from attrs import field, frozen
from attrs.validators import and_, ge, gt, instance_of, le, matches_re, min_len, optional

COUNT = and_(instance_of(int), ge(1))


def _holds_question(options: Any, attribute: Any, value: str) -> None:
    if "{question}" not in value:
        raise ValueError(f"template is {value!r}; it must contain {{question}}, where the question goes")


def _address(options: Any, attribute: Any, value: str) -> None:
    parts = urlsplit(value)
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"url is {value!r}: {error}; give a valid port, or none") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            f"url is {value!r}; it must be the base of an OpenAI-compatible API, such as 'http://localhost:8000/v1'"
        )
    if "@" in parts.netloc:
        raise ValueError(
            "url contains a user name or password, which the run folder would keep; put the key into the environment "
            "variable that `key_env` names"
        )


@frozen(kw_only=True)
class QuestionOptions:
    """The questions, and how answers are rewarded.

    question: asked about images of prompts whose metadata has no questions; the right answer is "yes". {prompt} stands
        for the prompt's text.
    template: the text around every question; {question} stands for it.
    scoring: with "exact", a question's reward is 1 for the right answer and 0 for another; with "probability", it is
        the probability of the right answer's first token.
    """

    question: str = field(default='Does this image show "{prompt}"? Answer yes or no.', validator=min_len(1))
    template: str = field(default="{question}\nReply with one word or number only.", validator=_holds_question)
    scoring: Literal["exact", "probability"] = "exact"


@frozen(kw_only=True)
class ServerOptions(QuestionOptions):
    """Options of `vqa-server`.

    url: the base of an OpenAI-compatible API; requests go to URL/chat/completions.
    model: the server's name for the model.
    key_env: the environment variable with the server's key; it may be unset where the server needs none.
    concurrency: how many requests are made at once, 1 to 256.
    timeout: seconds without data from the server after which a request fails, above 0.
    retries: how many more times a question is asked after a failure that may pass, 0 to 20.
    backoff: seconds before the second attempt, 0 to 60; each further delay is twice as long, up to 60.
    max_tokens: of an answer, at least 1.
    top_logprobs: how many of the likeliest first tokens the server reports, 1 to 20; for scoring = "probability".
    fallback: the reward of a question that stays unanswered, 0 to 1; without it, such a question ends the run.
    """

    url: str = field(default="http://localhost:8000/v1", validator=_address)
    model: str = field(validator=min_len(1))
    key_env: str = field(default="OPENAI_API_KEY", validator=matches_re(r"[A-Za-z_][A-Za-z0-9_]*"))
    concurrency: int = field(default=8, validator=and_(COUNT, le(256)))
    timeout: float = field(default=60.0, validator=gt(0))
    retries: int = field(default=4, validator=and_(instance_of(int), ge(0), le(20)))
    backoff: float = field(default=1.0, validator=and_(ge(0), le(60)))
    max_tokens: int = field(default=16, validator=COUNT)
    top_logprobs: int = field(default=20, validator=and_(COUNT, le(20)))
    fallback: float | None = field(default=None, validator=optional(and_(ge(0), le(1))))


@frozen(kw_only=True)
class LocalOptions(QuestionOptions):
    """Options of `vqa-local`.

    model: a folder, or a Hub id, of an image-text-to-text model of transformers with a chat template.
    revision: of the Hub repository: a branch, tag or commit.
    tiles: whether a model that can cut large images into tiles, seen in addition to the whole image, does so. The
        default model then enlarges every image and sees 17 images in place of one.
    max_new_tokens: of an answer, at least 1; for scoring = "exact".
    batch: how many questions are answered at once, at least 1.
    """

    model: str = field(default="HuggingFaceTB/SmolVLM-256M-Instruct", validator=min_len(1))
    revision: str = field(default="main", validator=min_len(1))
    tiles: bool = field(default=False, validator=instance_of(bool))
    max_new_tokens: int = field(default=8, validator=COUNT)
    batch: int = field(default=16, validator=COUNT)
