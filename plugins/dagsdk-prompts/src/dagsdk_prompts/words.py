"""Word lists. The animals are those of DDPO and DAG, in their order; fruits, vegetables and things are our own."""

from __future__ import annotations

from typing import Final

ANIMALS: Final = (
    "cat", "dog", "horse", "monkey", "rabbit", "zebra", "spider", "bird", "sheep", "deer", "cow", "goat", "lion",
    "tiger", "bear", "raccoon", "fox", "wolf", "lizard", "beetle", "ant", "butterfly", "fish", "shark", "whale",
    "dolphin", "squirrel", "mouse", "rat", "snake", "turtle", "frog", "chicken", "duck", "goose", "bee", "pig",
    "turkey", "fly", "llama", "camel", "bat", "gorilla", "hedgehog", "kangaroo",
)  # fmt: skip

ACTIVITIES: Final = ("washing dishes", "riding a bike", "playing chess")
"""Of DDPO (arXiv 2305.13301) and B²-DiffuRL (arXiv 2503.11240)."""

COLOURS: Final = ("red", "blue", "yellow", "purple", "green", "orange", "white", "black", "pink", "brown")

FRUITS: Final = {
    "apple": ("red", "green"),
    "pear": ("green", "yellow"),
    "banana": ("yellow", "green"),
    "grape": ("purple", "green"),
    "cherry": ("red", "yellow"),
    "plum": ("purple", "yellow"),
    "mango": ("yellow", "orange"),
    "lemon": ("yellow", "green"),
    "orange": ("orange", "yellow"),
    "peach": ("pink", "orange"),
    "fig": ("purple", "brown"),
    "strawberry": ("red", "white"),
    "raspberry": ("red", "black"),
    "blueberry": ("blue", "purple"),
    "kiwi": ("green", "brown"),
    "melon": ("green", "orange"),
    "coconut": ("brown", "white"),
    "papaya": ("orange", "green"),
    "guava": ("green", "pink"),
    "mulberry": ("black", "white"),
}
"""Each fruit, with its two usual colours."""

VEGETABLES: Final = (
    "carrot", "potato", "onion", "cabbage", "cucumber", "aubergine", "radish", "turnip", "leek", "celery",
    "broccoli", "cauliflower", "spinach", "lettuce", "pumpkin", "courgette", "beetroot", "asparagus", "artichoke",
    "pea",
)  # fmt: skip

PAIRS: Final = (
    ("cat", "chair"),
    ("dog", "table"),
    ("ball", "bench"),
    ("book", "box"),
    ("cup", "tray"),
    ("hat", "basket"),
    ("shoe", "stool"),
    ("lamp", "shelf"),
    ("vase", "piano"),
    ("clock", "bed"),
)
"""Pairs of things, of which the first can be on, under or next to the second."""

RELATIONS: Final = ("under", "on", "left of", "right of")
UNSEEN_RELATIONS: Final = ("behind", "in front of")
