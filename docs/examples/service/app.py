"""A service that aligns a model: start a run, follow it, stop it, fetch its LoRA. See README.md."""

from __future__ import annotations

import json
import math
import os
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict

import dagsdk
from dagsdk.errors import ConfigError

MODEL = os.environ.get("DAGSDK_SERVICE_MODEL", "shapes")
LORA = "pytorch_lora_weights.safetensors"


class Wanted(BaseModel):
    """The body of POST /runs. Only these keys: others, such as `plugins`, would let a client run code here."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[str]
    reward: str
    objective: str = "dag-db"
    epochs: int = 10
    trajectories: int = 64
    steps: int = 10
    samples: int = 64
    seed: int = 0


class Job:
    """A run that trains in a thread, and the events that it has reported so far."""

    def __init__(self, run: dagsdk.Run) -> None:
        self.id, self.run, self.status = uuid.uuid4().hex, run, "running"
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.changed = threading.Condition()
        self.folder = tempfile.TemporaryDirectory(prefix="dagsdk-service-")
        self.thread = threading.Thread(target=self._train, name=f"run {self.id}")

    def _train(self) -> None:
        try:
            with self.run:
                for event in self.run.events():
                    self._report(event)
                self.run.save(self.folder.name)
            status = "stopped" if self.run.epoch < self.run.config.train.epochs else "finished"
            self._add(status, {"epoch": self.run.epoch}, status=status)
        except Exception as error:  # one run's failure is that run's: the service and its other runs continue
            self._add("failed", {"error": f"{type(error).__name__}: {error}"}, status="failed")

    def _report(self, event: Any) -> None:
        match event:
            case dagsdk.EpochEvent():
                self._add("epoch", dict(event.metrics))
            case dagsdk.EvaluationEvent():
                self._add("evaluation", {"epoch": event.epoch, **event.metrics})
            case dagsdk.WarningEvent():
                self._add("warning", {"message": event.message})

    def _add(self, name: str, data: dict[str, Any], status: str = "running") -> None:
        finite = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in data.items()
        }
        with self.changed:
            self.events.append((name, finite))
            self.status = status
            self.changed.notify_all()

    def stream(self) -> Iterator[str]:
        """All events from the first on, as server-sent events, until the run is over."""
        sent, over = 0, False
        while not over:
            with self.changed:
                if sent == len(self.events):
                    self.changed.wait(timeout=15)
                new, over = self.events[sent:], self.status != "running"
            for number, (name, data) in enumerate(new, sent):
                yield f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
            sent += len(new)
            if not new:
                yield ": still training\n\n"  # shows whether the client is still there

    def describe(self) -> dict[str, Any]:
        run = self.run
        last = run.history[-1] if run.history else None
        return {
            "id": self.id,
            "status": self.status,
            "epoch": run.epoch,
            "epochs": run.config.train.epochs,
            "last": last,
        }


jobs: dict[str, Job] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    for job in jobs.values():
        job.run.stop()
    for job in jobs.values():
        job.thread.join()


app = FastAPI(title="dagsdk", lifespan=lifespan)


@app.post("/runs", status_code=201)
def start(wanted: Wanted) -> dict[str, Any]:
    """Starts a run. What dagsdk refuses is a 422 with all its problems."""
    job = Job(dagsdk.align(MODEL, **wanted.model_dump()))
    jobs[job.id] = job
    job.thread.start()
    return job.describe()


@app.get("/runs/{id}")
def look(id: str) -> dict[str, Any]:
    return found(id).describe()


@app.get("/runs/{id}/events")
def follow(id: str) -> StreamingResponse:
    """Server-sent events: epoch, evaluation, warning; then finished, stopped or failed, which ends the stream."""
    return StreamingResponse(found(id).stream(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


@app.post("/runs/{id}/stop", status_code=202)
def stop(id: str) -> dict[str, Any]:
    """Ends the run after the epoch in progress."""
    job = found(id)
    job.run.stop()
    return job.describe()


@app.get("/runs/{id}/lora")
def lora(id: str) -> FileResponse:
    job = found(id)
    file = Path(job.folder.name) / LORA
    if job.status == "running" or not file.exists():
        raise HTTPException(409, f"run {id} is {job.status}; a LoRA is there when it has finished or was stopped")
    return FileResponse(file, filename=LORA)


def found(id: str) -> Job:
    if id not in jobs:
        raise HTTPException(404, f"no run has id {id!r}; POST /runs starts one, and returns its id")
    return jobs[id]


@app.exception_handler(dagsdk.DagsdkError)
def refused(request: Request, error: dagsdk.DagsdkError) -> JSONResponse:
    return problems(422, error.problems if isinstance(error, ConfigError) else [str(error)])


@app.exception_handler(RequestValidationError)
def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
    return problems(422, [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()])


@app.exception_handler(HTTPException)
def missing(request: Request, error: HTTPException) -> JSONResponse:
    return problems(error.status_code, [str(error.detail)])


def problems(status: int, lines: Iterable[str]) -> JSONResponse:
    """Every error of this service has this form."""
    return JSONResponse({"problems": list(lines)}, status)
