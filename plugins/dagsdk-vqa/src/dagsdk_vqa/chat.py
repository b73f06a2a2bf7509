"""Requests to an OpenAI-compatible server: what is sent, which failures are tried again, and which are final."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential,
)

from dagsdk.errors import RewardError
from dagsdk_vqa.options import ServerOptions

T = TypeVar("T")

LONGEST_DELAY = 60.0
"""Seconds between two attempts, at most."""

TEMPORARY = (408, 425, 429)
"""Client errors that may pass: timeout, too early, too many requests."""


class NoAnswerError(Exception):
    """A failure that may pass."""


def key_from(variable: str) -> str | None:
    """The key in that environment variable; None if it is unset or empty.

    Raises RewardError, without showing the key, for one that an HTTP header cannot hold.
    """
    key = os.environ.get(variable, "").strip()
    if not all("!" <= letter <= "~" for letter in key):
        raise RewardError(
            f"the key in the environment variable {variable} has a space, a line break or a character outside ASCII; "
            "a key is one word of printable ASCII: copy it again"
        )
    return key or None


class Chat:
    """Asks questions by HTTP, from any number of threads. It connects with the first question."""

    def __init__(self, options: ServerOptions, key: str | None) -> None:
        self.options = options
        self.url = f"{options.url.rstrip('/')}/chat/completions"
        self._key = key
        try:
            httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise RewardError(f"url is {options.url!r}: {error}; give one like 'http://localhost:8000/v1'") from error
        self.client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=options.timeout,
            limits=httpx.Limits(max_connections=options.concurrency, max_keepalive_connections=options.concurrency),
        )
        weakref.finalize(self, self.client.close)

    def ask(self, text: str, picture: str, read: Callable[[Any], T], stop: Event) -> tuple[T | NoAnswerError, int]:
        """What `read` makes of the answer, or why there is none; and the number of attempts.

        text: the question.
        picture: a data URL.
        read: takes the first choice of the completion. For one that it cannot use it raises NoAnswerError, or whatever
            missing or wrong fields lead to.
        stop: once set, delays end and nothing is tried again.

        Raises RewardError for a failure that will not pass, such as a wrong key or an unknown model.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(NoAnswerError),
            stop=stop_after_attempt(self.options.retries + 1) | stop_when_event_set(stop),
            wait=wait_exponential(multiplier=self.options.backoff, max=LONGEST_DELAY),
            sleep=sleep_using_event(stop),
            reraise=True,
        )
        found: T | NoAnswerError
        try:
            found = retrying(self._once, self._body(text, picture), read)
        except NoAnswerError as error:
            found = error
        return found, int(retrying.statistics["attempt_number"])

    def _body(self, text: str, picture: str) -> dict[str, Any]:
        likely = {"logprobs": True, "top_logprobs": self.options.top_logprobs}
        return {
            "model": self.options.model,
            "max_tokens": self.options.max_tokens,
            "temperature": 0,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": picture}},
                        {"type": "text", "text": text},
                    ],
                }
            ],
            **(likely if self.options.scoring == "probability" else {}),
        }

    def _once(self, body: dict[str, Any], read: Callable[[Any], T]) -> T:
        try:
            response = self.client.post(self.url, json=body)
        except httpx.RequestError as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error
        status = response.status_code
        if status in TEMPORARY or status >= 500:
            raise NoAnswerError(f"HTTP {status}: {self._message(response)}")
        if not response.is_success:
            raise RewardError(
                f"the server at {self.url} refused model {body['model']!r} with HTTP {status}: "
                f"{self._message(response)}; trying again would not help: check `url`, `model` and the key in the "
                f"environment variable {self.options.key_env} ({'set' if self._key else 'not set'})"
            )
        try:
            return read(response.json()["choices"][0])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            shown = self._safe(response.text)
            raise NoAnswerError(f"an answer that is not a chat completion as requested: {shown!r}") from error

    def _message(self, response: httpx.Response) -> str:
        """The server's own message about an error."""
        try:
            return self._safe(str(response.json()["error"]["message"]))
        except (ValueError, LookupError, TypeError):
            return self._safe(response.text)

    def _safe(self, text: str) -> str:
        """One short line without the key, which a server may repeat."""
        hidden = text.replace(self._key, "[key]") if self._key else text
        return " ".join(hidden.split())[:300] or "(nothing)"
