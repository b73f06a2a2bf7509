"""The reward `vqa-server`: one request per question, several at once."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from io import BytesIO
from math import exp
from threading import Event
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from dagsdk import Prompt
from dagsdk.errors import RewardError
from dagsdk.rewards.images import to_uint8
from dagsdk_vqa.answers import begins, normalise, start
from dagsdk_vqa.chat import Chat, NoAnswerError, key_from
from dagsdk_vqa.options import ServerOptions
from dagsdk_vqa.questions import Question, mean_by_image, questions

if TYPE_CHECKING:
    import numpy as np


class ServerReward:
    """Reward: the mean reward of each image's questions, in [0, 1].

    Images (b, 3, h, w) in [0, 1] → (b,), float32, without gradient. Raises RewardError for wrong metadata, for a server
    that refuses, and, where there is no fallback, for a question that stays unanswered.
    """

    def __init__(self, options: ServerOptions) -> None:
        """Connects to nothing: the server may be started later. Raises RewardError for an impossible key or address."""
        self.options = options
        self.chat = Chat(options, key_from(options.key_env))
        self._counted = Counter[str]()

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        asked = questions(prompts, self.options)
        pictures = [data_url(picture) for picture in to_uint8(images).cpu().numpy()]
        stop = Event()

        with ThreadPoolExecutor(self.options.concurrency, thread_name_prefix="vqa-server") as pool:
            found = [pool.submit(self._ask, question, pictures[question.row], stop) for question in asked]
            try:
                wait(found, return_when=FIRST_EXCEPTION)
                # in the order of the questions; raises what failed, if anything did
                answered = [future.result() for future in found if future.done()]
            finally:
                stop.set()  # requests in progress end, and none is tried again
                pool.shutdown(cancel_futures=True)
        for reward, attempts in answered:
            self._counted.update(asked=1, retried=attempts - 1, unanswered=reward is None)
        fallback = self.options.fallback or 0.0
        return mean_by_image(asked, [fallback if reward is None else reward for reward, _ in answered], images)

    def metrics(self) -> Mapping[str, float]:
        """Since the last call: questions asked, attempts beyond the first, and questions that got the fallback."""
        counted, self._counted = self._counted, Counter()
        return {key: float(counted[key]) for key in ("asked", "retried", "unanswered")}

    def _ask(self, question: Question, picture: str, stop: Event) -> tuple[float | None, int]:
        """The question's reward, None if it stays unanswered and there is a fallback; and the number of attempts."""
        found, attempts = self.chat.ask(question.text, picture, self._reader(question.answer), stop)
        if not isinstance(found, NoAnswerError):
            return found, attempts
        if self.options.fallback is not None:
            return None, attempts
        times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        raise RewardError(
            f"the server at {self.chat.url} gave no usable answer in {times}; the last one failed with {found}; every "
            "question must be answered: check that the server runs and serves the model, raise `retries` or `timeout`, "
            "or set `fallback`, the reward of unanswered questions"
        ) from found

    def _reader(self, answer: str) -> Any:
        if self.options.scoring == "exact":
            return lambda choice: is_right(choice, answer)
        return lambda choice: probability(choice, answer)


def is_right(choice: Mapping[str, Any], answer: str) -> float:
    """1 if a completion's choice has the right answer, 0 if another. Raises NoAnswerError for an empty one."""
    said = choice["message"]["content"]
    if not said.strip():
        raise NoAnswerError("an empty answer")
    return float(normalise(said) == normalise(answer))


def probability(choice: Mapping[str, Any], answer: str) -> float:
    """Σ exp(log p) over the reported first tokens that begin the right answer. Tokens not reported count as 0."""
    first = ((choice.get("logprobs") or {}).get("content") or [None])[0]
    if first is None:
        raise NoAnswerError('an answer without log-probabilities, which scoring = "probability" needs')
    reported = list(first.get("top_logprobs") or [])
    if first["token"] not in [entry["token"] for entry in reported]:
        reported.append(first)
    return min(1.0, sum(exp(entry["logprob"]) for entry in reported if begins(answer, start(entry["token"]))))


def data_url(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    """A picture, shape (h, w, 3), as a data URL with a PNG."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
