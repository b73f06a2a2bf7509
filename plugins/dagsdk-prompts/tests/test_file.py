"""Files: every format, every mistake, and a million lines."""

from __future__ import annotations

import os
import pickle
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagsdk import Prompt
from dagsdk_prompts.errors import PromptsError
from dagsdk_prompts.file import PromptFile
from dagsdk_prompts.options import FileOptions


def made(folder: Path, name: str, content: str | bytes, **options: Any) -> PromptFile:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return PromptFile(FileOptions(path=str(path), **options))


def test_a_text_file_has_one_prompt_per_line(tmp_path: Path) -> None:
    found = made(tmp_path, "a.txt", "a cat\n  naïve 猫 \r\nlast, without an end")
    assert list(found) == [Prompt("a cat"), Prompt("naïve 猫"), Prompt("last, without an end")]
    assert found[-1].text == "last, without an end" and list(found[1:]) == [found[1], found[2]]
    with pytest.raises(IndexError):
        found[3]


def test_json_lines_have_other_keys_as_metadata(tmp_path: Path) -> None:
    lines = '{"text": "a\\nb", "n": [1, {"x": null}]}\n{"id": 2, "text": "c"}\n'
    assert list(made(tmp_path, "a.jsonl", lines)) == [Prompt("a\nb", {"n": [1, {"x": None}]}), Prompt("c", {"id": 2})]


def test_csv_has_a_header_and_other_columns_as_metadata(tmp_path: Path) -> None:
    content = 'id,caption\r\n1,"one, ""two""\r\nthree"\r\n2,four\r\n'
    found = made(tmp_path, "a.csv", content, text_column="caption")
    assert list(found) == [Prompt('one, "two"\r\nthree', {"id": "1"}), Prompt("four", {"id": "2"})]


def test_tsv_takes_quotation_marks_as_they_are(tmp_path: Path) -> None:
    found = made(tmp_path, "a.tsv", 'text\tkind\n"a" and b\t"x\n', format="auto")
    assert list(found) == [Prompt('"a" and b', {"kind": '"x'})]


def test_the_format_can_be_given(tmp_path: Path) -> None:
    assert made(tmp_path, "prompts", "a,b\n", format="text")[0].text == "a,b"
    assert made(tmp_path, "a.txt", '{"text": "x"}\n', format="jsonl")[0].text == "x"


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    found = made(tmp_path, name, b"\xef\xbb\xbftext\nb\n", text_column="text")
    assert found[len(found) - 1].text == "b" and not any("\ufeff" in prompt.text for prompt in found)


def test_a_limit_takes_the_first(tmp_path: Path) -> None:
    assert [p.text for p in made(tmp_path, "a.txt", "a\nb\nc\n", limit=2)] == ["a", "b"]
    assert len(made(tmp_path, "b.txt", "a\nb\nc\n", limit=9)) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "a\n\n \t\nb\n"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": " "}\n{"text": "b"}\n'),
        ("a.csv", "text,n\na,1\n\n ,2\nb,3\n"),
    ],
)
def test_blank_entries_are_an_error_or_skipped(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(PromptsError, match=rf'{name}, line [23]: there is no text; .*blank = "skip"'):
        made(tmp_path, name, content)
    assert [prompt.text for prompt in made(tmp_path, name, content, blank="skip")] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "holds no prompt"),
        ("a.csv", b"text,n\n", "holds no prompt"),
        ("a.csv", b"", "line 1: there is no column 'text'; there are none"),
        ("a.txt", b"fine\nb\xffd\n", r"line 2: byte 2 is 0xff, which is not UTF-8"),
        ("a.txt", "a".encode("utf-16"), "line 1: byte 1 is 0xff"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"line 2: Expecting value"),
        ("a.jsonl", b'{"text": "a"}\n["b"]\n', "line 2: it is a list; each line must be a JSON object"),
        ("a.jsonl", b'{"prompt": "a", "id": 1}\n', "line 1: there is no key 'text'; there are 'prompt', 'id'"),
        ("a.jsonl", b'{"text": 5}\n', "line 1: 'text' is 5; it must be a string"),
        ("a.jsonl", b'{"text": "a", "n": NaN}\n', "line 1: NaN is not a finite number"),
        ("a.jsonl", b'{"text": "a", "n": 1e999}\n', "line 1: 1e999 is not a finite number"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1: .*surrogates not allowed"),
        ("a.jsonl", b'{"text": "a", "n": ' + b"[" * 100_000 + b"\n", "line 1: it is nested too deeply"),
        ("a.csv", b"prompt,id\na,1\n", "line 1: there is no column 'text'; there are 'prompt', 'id'; set text_column"),
        ("a.csv", b"text,id,id\na,1,2\n", "line 1: the header has 'id' more than once"),
        ("a.csv", b"text,id\na,1\nb, c,2\n", "line 3: it has 3 columns, and the header 2"),
        ("a.csv", b'text,id\na,1\n"b,2\nc,3\n', "line 3: unexpected end of data"),
        ("a.csv", b'text,id\n"a"b,1\n', "line 2: .*expected after"),
        ("a.md", b"a\n", "the suffix '.md' stands for no format"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(PromptsError, match=says) as raised:
        made(tmp_path, name, content)
    assert str(raised.value).startswith(str(tmp_path / name)) and "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_no_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match=r"there is no such file; a relative path begins at the working directory"):
        PromptFile(FileOptions(path=str(tmp_path / "none.txt")))
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(PromptsError, match="cannot be read"):
        PromptFile(FileOptions(path=str(tmp_path / "folder.txt")))


@pytest.mark.parametrize("change", ["append", "touch", "remove", "replace"])
def test_a_file_that_changes_while_it_is_in_use_is_one_clear_error(tmp_path: Path, change: str) -> None:
    found = made(tmp_path, "a.txt", "a\nb\n")
    path = tmp_path / "a.txt"
    match change:
        case "append":
            with path.open("a") as file:
                file.write("c\n")
        case "touch":
            os.utime(path, ns=(0, 0))
        case "remove":
            path.unlink()
        case "replace":
            (tmp_path / "other").write_text("c\nd\ne\n")
            (tmp_path / "other").replace(path)
    with pytest.raises(
        PromptsError, match="there is no such file" if change == "remove" else "is not the same as when"
    ):
        found[0]


def test_a_relative_path_begins_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a\n")
    assert PromptFile(FileOptions(path="a.txt"))[0].text == "a"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1), min_size=1))
def test_what_was_written_is_read_at_every_index(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    import csv
    import io
    import json

    texts = [f"x{text}" for text in texts]  # none blank
    lines = "".join(json.dumps({"text": text, "n": i}) + "\n" for i, text in enumerate(texts))
    table = io.StringIO(newline="")
    csv.writer(table).writerows([["n", "text"], *([str(i), text] for i, text in enumerate(texts))])
    folder = tmp_path_factory.mktemp("any")
    for name, content in (("a.jsonl", lines), ("a.csv", table.getvalue())):
        found = made(folder, name, content)
        assert [found[i].text for i in reversed(range(len(found)))] == texts[::-1]


def numbered(path: Path, count: int) -> FileOptions:
    path.write_bytes(b"".join(b"prompt number %d, of a certain length\n" % i for i in range(count)))
    return FileOptions(path=str(path))


def test_a_file_takes_eight_bytes_of_memory_per_entry(tmp_path: Path) -> None:
    count = 100_000
    options = numbered(tmp_path / "many.txt", count)
    tracemalloc.start()
    found = PromptFile(options)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == count
    assert kept < 10 * count and peak < 20 * count  # the index is copied as it grows; the file has 40 bytes per entry


def test_any_of_a_million_lines_is_read_at_once(tmp_path: Path) -> None:
    count = 1_000_000
    found = PromptFile(numbered(tmp_path / "many.txt", count))
    assert len(found) == count
    places = [0, 1, 9, 10, 99_999, 100_000, count // 2, count - 2, count - 1]
    for place in places:
        assert found[place].text == f"prompt number {place}, of a certain length"
    start = time.perf_counter()
    for place in range(0, count, 1000):
        found[place]
    assert time.perf_counter() - start < 2  # seconds for a thousand reads, which take 0.02


def test_threads_and_other_processes_may_read(tmp_path: Path) -> None:
    found = made(tmp_path, "a.txt", "".join(f"line {i}\n" for i in range(500)))
    with ThreadPoolExecutor(8) as pool:
        assert [p.text for p in pool.map(found.__getitem__, range(500))] == [f"line {i}" for i in range(500)]
    assert pickle.loads(pickle.dumps(found))[7] == found[7]  # as a worker process gets it  # noqa: S301
