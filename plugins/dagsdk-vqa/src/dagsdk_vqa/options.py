"""What a run file may say of the two rewards."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from attrs import field, frozen
from attrs.validators import and_, ge, gt, instance_of, le, matches_re, min_len, optional

COUNT = and_(instance_of(int), ge(1))


def _holds_question(options: Any, attribute: Any, value: str) -> None:
    if "{question}" not in value:
        raise ValueError(f"template is {value!r}; it must hold {{question}}, where the question is put")


def _address(options: Any, attribute: Any, value: str) -> None:
    parts = urlsplit(value)
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"url is {value!r}: {error}; give a port that there is, or none") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            f"url is {value!r}; it must be the base of an OpenAI-compatible API, such as 'http://localhost:8000/v1'"
        )
    if "@" in parts.netloc:
        raise ValueError(
            "url holds a user name or password, and the run folder would keep it; put the key into the environment "
            "variable that `key_env` names"
        )


@frozen(kw_only=True)
class QuestionOptions:
    """What is asked, and how answers are scored.

    question: what is asked about images of prompts whose metadata has no questions; the right answer is "yes".
        {prompt} stands for the prompt's text.
    template: the words around every question; {question} stands for it.
    scoring: "exact" scores a question 1 if the answer is the right one and 0 if not; "probability" scores it with the
        probability of the right answer's first token.
    """

    question: str = field(default='Does this image show "{prompt}"? Answer yes or no.', validator=min_len(1))
    template: str = field(default="{question}\nReply with one word or number only.", validator=_holds_question)
    scoring: Literal["exact", "probability"] = "exact"


@frozen(kw_only=True)
class ServerOptions(QuestionOptions):
    """Options of `vqa-server`.

    url: the base of an OpenAI-compatible API; requests go to URL/chat/completions.
    model: what the server calls the model.
    key_env: the environment variable that holds the server's key; it may be unset where the server asks for none.
    concurrency: how many requests are under way at once, 1..256.
    timeout: seconds without a sign of the server after which a request has failed, above 0.
    retries: how many more times a question is asked after a failure that may pass, 0..20.
    backoff: seconds before the second attempt; each further delay is twice as long, up to 60. 0 or more.
    max_tokens: of an answer, at least 1.
    top_logprobs: how many of the likeliest first tokens the server tells, 1..20; for scoring = "probability".
    fallback: the score of a question that stayed unanswered, 0..1; without it, such a question ends the run.
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
    revision: of the Hub's repository: a branch, tag or commit.
    tiles: whether a model that can cut large pictures into tiles, each seen beside the whole, does so. The default
        model enlarges every picture for it, and then takes 17 times as long.
    max_new_tokens: of an answer, at least 1; for scoring = "exact".
    batch: how many questions are answered at once, at least 1.
    """

    model: str = field(default="HuggingFaceTB/SmolVLM-256M-Instruct", validator=min_len(1))
    revision: str = field(default="main", validator=min_len(1))
    tiles: bool = field(default=False, validator=instance_of(bool))
    max_new_tokens: int = field(default=8, validator=COUNT)
    batch: int = field(default=16, validator=COUNT)
