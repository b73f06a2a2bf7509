"""The reward `vqa-local`: a model in this process answers the questions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dagsdk import BuildContext, Prompt
from dagsdk.errors import RewardError
from dagsdk.rewards.images import to_uint8
from dagsdk_vqa.answers import begins, normalise, start
from dagsdk_vqa.loading import load
from dagsdk_vqa.options import LocalOptions
from dagsdk_vqa.questions import Question, mean_by_image, questions


class LocalReward:
    """Reward: the mean reward of each image's questions, in [0, 1].

    Images (b, 3, h, w) in [0, 1] → (b,), float32, without gradient. Raises RewardError for wrong metadata, and for a
    model that cannot be loaded.
    """

    def __init__(self, options: LocalOptions, context: BuildContext) -> None:
        self.options = options
        self._loaded = load(options, context)  # other rewards share it for as long as it is held
        self.model, self.processor = self._loaded.model, self._loaded.processor
        self._beginnings: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        asked = questions(prompts, self.options)
        pictures = [Image.fromarray(picture) for picture in to_uint8(images).cpu().numpy()]
        rewards: list[float] = []
        for first in range(0, len(asked), self.options.batch):
            batch = asked[first : first + self.options.batch]
            rewards += self._rewards(batch, [pictures[question.row] for question in batch])
        return mean_by_image(asked, rewards, images)

    def _rewards(self, asked: Sequence[Question], pictures: Sequence[Image.Image]) -> list[float]:
        inputs = self._inputs([question.text for question in asked], pictures)
        exact = self.options.scoring == "exact"
        said = self.model.generate(
            **inputs,
            max_new_tokens=self.options.max_new_tokens if exact else 1,
            do_sample=False,
            num_beams=1,
            pad_token_id=self.processor.tokenizer.pad_token_id,
            output_logits=True,
            return_dict_in_generate=True,
        )
        if exact:
            new = said.sequences[:, inputs["input_ids"].shape[1] :]
            texts = [self.processor.tokenizer.decode(row, skip_special_tokens=True) for row in new]
            return [float(normalise(text) == normalise(q.answer)) for text, q in zip(texts, asked, strict=True)]
        probabilities = said.logits[0].float().softmax(dim=-1)  # (n, vocabulary)
        rows = zip(probabilities, asked, strict=True)
        return [float(row[self._beginning(q.answer)].sum().clamp(max=1)) for row, q in rows]

    def _inputs(self, texts: Sequence[str], pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
        """The model's inputs for n pictures with one text each, padded on the left."""
        tokenizer = self.processor.tokenizer
        conversations = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": self._plain(text)}]}]
            for text in texts
        ]
        chats = self.processor.apply_chat_template(conversations, add_generation_prompt=True)
        # some templates write the token that begins a text
        begun = tokenizer.bos_token is not None and chats[0].startswith(tokenizer.bos_token)
        inputs = self.processor(
            text=chats,
            images=[[picture] for picture in pictures],
            return_tensors="pt",
            padding=True,
            add_special_tokens=not begun,
        )
        device, dtype = self.model.device, self.model.dtype
        return {
            name: values.to(device, dtype) if values.is_floating_point() else values.to(device)
            for name, values in inputs.items()
        }

    def _plain(self, text: str) -> str:
        """A text without the tokenizer's special tokens: "<image>" in a prompt does not stand for an image."""
        for token in (*self.processor.tokenizer.all_special_tokens, getattr(self.processor, "image_token", None)):
            text = text.replace(token, " ") if token else text
        return text

    @cached_property
    def _starts(self) -> list[str]:
        """By id, the text of each token, as `begins` takes it."""
        tokenizer: Any = self.processor.tokenizer
        return [start(tokenizer.decode([token])) for token in range(len(tokenizer))]

    def _beginning(self, answer: str) -> Tensor:
        """Ids of the tokens that can begin this answer."""
        if answer not in self._beginnings:
            found = [token for token, text in enumerate(self._starts) if begins(answer, text)]
            if not found:
                raise RewardError(
                    f"answer {answer!r}: no token of model {self.options.model!r} begins it, so it has no probability; "
                    'use scoring = "exact" or another answer'
                )
            self._beginnings[answer] = torch.tensor(found, device=self.model.device)
        return self._beginnings[answer]
