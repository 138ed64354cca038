"""A simulated Ollama for a machine without one: the same API, canned answers, and it says so wherever it shows.

python -m officeops.stack.local.ollama --port 11434 --model gemma3:12b

Asked to `talk for N seconds` (N秒話して), it does so: for trying out what a long answer does to a release that takes over meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

_WORD_S = 0.03
_TALK_WORD_S = 0.25  # between the words of an answer whose length was asked for
_TALK = re.compile(r"talk for (\d+) seconds|(\d+)秒話して", re.IGNORECASE)
_LONGEST_S = 3600
_ANSWERS = {
    "en": "(simulated model) I am a stand-in for {model}. You asked: “{question}”. A real model would answer here, word by word, just like this.",
    "ja": "（模擬モデル）これは {model} の代わりです。 ご質問は 「{question}」 ですね。 本物のモデルなら、 ここで このように 少しずつ お答えします。",
}


def answer(question: str, model: str) -> list[str]:
    """The canned answer in the question's language, in pieces as a model would send them."""
    japanese = any("\u3040" <= character <= "\u9fff" for character in question)
    text = _ANSWERS["ja" if japanese else "en"].format(model=model, question=question[:200])
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:]


def asked_seconds(question: str) -> int | None:
    """For how long the question wants an answer to last, an hour at most; None when it does not say."""
    found = _TALK.search(question)
    return min(int(found[1] or found[2]), _LONGEST_S) if found else None


def application(model: str, word_s: float = _WORD_S) -> Starlette:
    """The API. word_s: seconds between two pieces of an answer. The model can be deleted and pulled again."""
    there = {model}

    async def home(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("Ollama is running (simulated)")

    async def version(_request: Request) -> JSONResponse:
        return JSONResponse({"version": "0.0.0-simulated"})

    async def tags(_request: Request) -> JSONResponse:
        details = {"format": "simulated", "family": "simulated", "parameter_size": "0B", "quantization_level": "none"}
        return JSONResponse(
            {"models": [{"name": name, "model": name, "size": 0, "digest": "simulated", "details": details} for name in there]}
        )

    async def chat(request: Request) -> StreamingResponse | JSONResponse:
        body = await request.json()
        if body["model"] not in there:
            return JSONResponse({"error": f"model {body['model']!r} not found"}, status_code=404)
        question = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        pieces, seconds = answer(question, model), asked_seconds(question)
        if seconds is None:
            return StreamingResponse(_spoken(pieces, model, word_s), media_type="application/x-ndjson")
        words = list(islice(cycle([*pieces[:-1], pieces[-1] + " "]), max(1, round(seconds / _TALK_WORD_S))))
        return StreamingResponse(_spoken(words, model, seconds / len(words)), media_type="application/x-ndjson")

    async def delete(request: Request) -> PlainTextResponse:
        body = await request.json()
        there.discard(body["model"])
        return PlainTextResponse("")

    async def pull(request: Request) -> StreamingResponse:
        body = await request.json()
        there.add(body["model"])
        steps: list[dict[str, Any]] = [{"status": "pulling manifest (simulated)"}, {"status": "success"}]
        return StreamingResponse(iter([json.dumps(step) + "\n" for step in steps]), media_type="application/x-ndjson")

    return Starlette(
        routes=[
            Route("/", home, methods=["GET", "HEAD"]),
            Route("/api/version", version),
            Route("/api/tags", tags),
            Route("/api/chat", chat, methods=["POST"]),
            Route("/api/generate", chat, methods=["POST"]),
            Route("/api/pull", pull, methods=["POST"]),
            Route("/api/delete", delete, methods=["DELETE"]),
        ]
    )


async def _spoken(pieces: list[str], model: str, word_s: float) -> AsyncIterator[str]:
    for piece in pieces:
        yield _line(model, piece, done=False)
        await asyncio.sleep(word_s)
    yield _line(model, "", done=True)


def _line(model: str, text: str, *, done: bool) -> str:
    now = datetime.now(UTC).isoformat()
    return (
        json.dumps({"model": model, "created_at": now, "message": {"role": "assistant", "content": text}, "response": text, "done": done})
        + "\n"
    )


def main() -> None:
    """Serves until it is told to stop."""
    import uvicorn

    parser = argparse.ArgumentParser(description="A simulated Ollama server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default="gemma3:12b")
    options = parser.parse_args()
    uvicorn.run(application(options.model), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
