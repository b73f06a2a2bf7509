"""A server that answers like OpenAI's by looking at the picture, and a vision-language model that is built here."""

from __future__ import annotations

import json
import math
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

COLOURS = ("red", "green", "blue")


class ChatServer:
    """Says whether a picture is mostly of the colour that the question names; its P(yes) is the mean brightness.

    failures: what the next requests get instead: an HTTP status, raw bytes, or a message's content.
    delay: seconds before each answer.
    reports: whether log-probabilities are reported.
    requests: bodies, with headers and pictures.
    busiest: the largest number of requests at once.
    """

    def __init__(self) -> None:
        self.failures: list[int | bytes | str] = []
        self.delay = 0.0
        self.reports = True
        self.requests: list[dict[str, Any]] = []
        self.busy = self.busiest = 0
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.busy += 1
                    server.busiest = max(server.busiest, server.busy)
                try:
                    status, answer = server.answer(self.path, dict(self.headers), body)
                finally:
                    with server.lock:
                        server.busy -= 1
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:  # the client has given up
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    @property
    def texts(self) -> list[str]:
        return [request["text"] for request in self.requests]

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, bytes]:
        picture, text = body["messages"][0]["content"]
        head, data = picture["image_url"]["url"].split(",")
        assert (path, head) == ("/v1/chat/completions", "data:image/png;base64")
        pixels = np.asarray(Image.open(BytesIO(b64decode(data)), formats=["PNG"]))
        with self.lock:
            self.requests.append({**body, "headers": headers, "pixels": pixels, "text": text["text"]})
            failure = self.failures.pop(0) if self.failures else None
        time.sleep(self.delay)
        match failure:
            case int():
                key = headers.get("Authorization", "").removeprefix("Bearer ")
                return failure, json.dumps({"error": {"message": f"no luck today with {key!r}"}}).encode()
            case bytes():
                return 200, failure
            case str():
                return 200, self.completion(failure, [])
        colour = COLOURS[int(pixels.mean((0, 1)).argmax())]
        yes = float(np.clip(pixels.mean() / 255, 1e-3, 1 - 1e-3))
        likely = [("Yes", 0.75 * yes), (" yes", 0.25 * yes), ("No", 1 - yes)][: body.get("top_logprobs")]
        return 200, self.completion("Yes." if colour in text["text"] else "No.", likely if self.reports else [])

    @staticmethod
    def completion(content: str, likely: list[tuple[str, float]]) -> bytes:
        top = [{"token": token, "logprob": math.log(p)} for token, p in likely]
        logprobs = {"content": [{**top[0], "top_logprobs": top}]} if top else None
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "logprobs": logprobs}
        return json.dumps({"object": "chat.completion", "choices": [choice]}).encode()


WORDS = """yes Yes no No three Three one two cat dog Does this image show Answer or Reply with word number only Is it
red a How many dogs are there and what else is in the picture of such things ? . " : User Assistant""".split()  # noqa: SIM905

CHAT = """{% for message in messages %}User : {% for part in message['content'] %}
{%- if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}
{#- -#}<end_of_utterance>{% endfor %}
{%- if add_generation_prompt %}Assistant :{% endif %}"""


def build_tiny_vlm(folder: Path, chat_template: str | None = CHAT) -> Path:
    """A model of the default one's kind (Idefics3), with random weights and a vocabulary of words, as on the Hub."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
        PreTrainedTokenizerFast,
    )

    special = ["<unk>", "<pad>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>", "<image>"]
    special += [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<end_of_utterance>",
        additional_special_tokens=special[3:],
    )
    pictures = Idefics3ImageProcessor(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
    )
    config = Idefics3Config(
        image_token_id=vocabulary["<image>"],
        scale_factor=2,
        text_config={
            "model_type": "llama", "vocab_size": len(vocabulary), "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
            "pad_token_id": 1, "bos_token_id": None, "eos_token_id": 2, "max_position_embeddings": 1024,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": 32, "patch_size": 8, "initializer_range": 0.3,
        },
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Idefics3ForConditionalGeneration(config)
        for parameter in model.parameters():  # large enough for pictures and words to matter
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    Idefics3Processor(pictures, tokenizer, image_seq_len=4, chat_template=chat_template).save_pretrained(folder)
    return folder


@contextmanager
def serving() -> Iterator[ChatServer]:
    """A server that runs meanwhile, and an environment without a key and without a proxy before it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NO_PROXY", "127.0.0.1")
        environment.delenv("OPENAI_API_KEY", raising=False)
        server = ChatServer()
        try:
            yield server
        finally:
            server.close()


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def patient_server() -> Iterator[ChatServer]:
    """For all tests of a module."""
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("vlm"))


@pytest.fixture
def flat() -> Tensor:
    """Red, green, blue, dark red: shape (4, 3, 8, 8)."""
    colours = torch.tensor([[1.0, 0.2, 0.0], [0.0, 1.0, 0.2], [0.2, 0.0, 1.0], [0.4, 0.2, 0.0]])
    return colours[:, :, None, None].expand(4, 3, 8, 8).clone()
