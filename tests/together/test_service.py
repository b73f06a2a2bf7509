"""The example of a web service, as a real server process that a real client talks to; and the example program."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_site import Site
from fences import ROOT
from safetensors.torch import load

SMALL: dict[str, Any] = {
    "prompts": ["a star", "a ring"],
    "reward": "jpeg-compressibility",
    "epochs": 2,
    "trajectories": 4,
    "steps": 2,
    "samples": 2,
}
Event = tuple[str, dict[str, Any]]
FLAKY = """
    from dagsdk import RewardSpec, hookimpl

    def build(options):
        def reward(images, prompts):
            if len(images) != 2:  # what is trained on, and not what is evaluated
                raise ValueError("out of order")
            return images.mean((1, 2, 3))
        return reward

    @hookimpl
    def dagsdk_rewards():
        yield RewardSpec(name="flaky", summary="Fails", build=build)
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("service")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = ["-m", "uvicorn", "app:app", "--app-dir", str(ROOT / "docs/examples/service"), "--port", port]
    log = (folder / "log").open("w", encoding="utf-8")
    (folder / "site").mkdir()
    Site(folder / "site").add("dagsdk-flaky", FLAKY)
    words += ["--timeout-graceful-shutdown", "2"]
    environ = {**os.environ, "PYTHONPATH": str(folder / "site")}
    server = subprocess.Popen([sys.executable, *words], cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            until = time.monotonic() + 120
            while True:
                try:
                    client.get("/runs/none")
                    break
                except httpx.ConnectError:
                    assert server.poll() is None and time.monotonic() < until, (folder / "log").read_text()
                    time.sleep(0.2)
            yield client
    finally:
        server.terminate()
        assert server.wait(60) in (0, -15)
        log.close()


def events(client: httpx.Client, id: str) -> Iterator[Event]:
    with client.stream("GET", f"/runs/{id}/events") as response:
        assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in response.iter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                yield name, json.loads(value)


def test_start_stream_and_fetch_the_lora(client: httpx.Client) -> None:
    started = client.post("/runs", json=SMALL)
    assert started.status_code == 201
    run = started.json()
    assert run["status"] == "running" and run["epochs"] == 2
    seen = list(events(client, run["id"]))
    assert [name for name, _ in seen] == ["evaluation", "epoch", "evaluation", "epoch", "finished"]
    assert [data["epoch"] for name, data in seen if name == "epoch"] == [1, 2]
    assert "reward/mean" in seen[1][1] and "evaluate/gain" in seen[3][1]
    assert list(events(client, run["id"])) == seen, "whoever comes late gets all of them"
    now = client.get(f"/runs/{run['id']}").json()
    assert (now["status"], now["epoch"], now["last"]) == ("finished", 2, seen[3][1])
    lora = client.get(f"/runs/{run['id']}/lora")
    assert lora.status_code == 200
    weights = load(lora.content)
    assert weights and all(key.startswith("unet.") for key in weights)
    assert any(weight.abs().max() > 0 for key, weight in weights.items() if "lora_B" in key or "lora.up" in key)


def test_stop_while_another_one_trains(client: httpx.Client) -> None:
    long, short = (client.post("/runs", json={**SMALL, "epochs": epochs}).json()["id"] for epochs in (10000, 2))
    assert client.get(f"/runs/{long}/lora").status_code == 409
    for name, _ in (stream := events(client, long)):
        if name == "epoch":
            break
    assert client.post(f"/runs/{long}/stop").status_code == 202
    *_, (last, data) = stream
    assert last == "stopped" and 0 < data["epoch"] < 10000
    assert client.get(f"/runs/{long}/lora").status_code == 200
    *_, (last, data) = events(client, short)
    assert (last, data["epoch"]) == ("finished", 2)


def test_a_run_that_fails_says_so_and_harms_no_other(client: httpx.Client) -> None:
    run = client.post("/runs", json={**SMALL, "reward": "flaky"}).json()
    *_, (last, data) = events(client, run["id"])
    assert last == "failed" and "RewardError: reward 'flaky' raised ValueError: out of order" in data["error"]
    assert client.get(f"/runs/{run['id']}").json()["status"] == "failed"
    assert client.get(f"/runs/{run['id']}/lora").status_code == 409
    other = client.post("/runs", json={**SMALL, "epochs": 1}).json()
    assert [*events(client, other["id"])][-1][0] == "finished"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reward": "jpeg"}, "did you mean 'jpeg-compressibility'"),
        ({"epochs": 0}, "train.epochs: 0 is too small"),
        ({"prompts": []}, "prompts: there are none"),
        ({"epochs": "many"}, "body.epochs: "),
        ({"plugins": ["./mine.py"]}, "body.plugins: "),
    ],
)
def test_bad_input_is_a_422_with_every_problem(client: httpx.Client, change: dict[str, Any], said: str) -> None:
    answer = client.post("/runs", json={**SMALL, **change})
    assert answer.status_code == 422 and any(said in problem for problem in answer.json()["problems"]), answer.text
    both = client.post("/runs", json={**SMALL, "epochs": 0, "reward": "jpeg"})
    assert len(both.json()["problems"]) == 2


@pytest.mark.parametrize("path", ["/runs/none", "/runs/none/events", "/runs/none/lora"])
def test_an_unknown_run_is_a_404(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and "'none'" in answer.json()["problems"][0]


def test_the_example_program_raises_its_reward(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "docs/examples/embed.py"), "lora"]
    done = subprocess.run(words, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    *_, compared, saved = done.stdout.splitlines()
    before, after = (float(number) for number in compared.partition(": ")[2].replace(",", "").split()[0::2])
    assert after > before + 0.05 and saved == "LoRA for diffusers: lora"
    assert {path.name for path in (tmp_path / "lora").iterdir()} == {"pytorch_lora_weights.safetensors", "README.md"}
