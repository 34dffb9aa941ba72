"""An LLM provider for gateways, on loopback, that remembers which model each call named."""

import json
import threading
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
PLACE = {"sequence_number": 0, "item_id": "m", "output_index": 0, "content_index": 0}


class Upstream:
    """Answers Chat Completions and Responses, streaming or not.

    Attributes:
        calls: the bodies of the calls, in order.
        down: models that answer 500.

    """

    def __init__(self):
        self.calls, self.down, self.url = [], set(), ""
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/responses", self.respond, methods=["POST"]),
            ]
        )

    def model_of(self, marker):
        """Return the model that got the request with this text in it."""
        (model,) = {call["model"] for call in self.calls if marker in json.dumps(call)}
        return model

    async def chat(self, request):
        body = await self._note(request)
        if body["model"] in self.down:
            return JSONResponse({"error": {"message": "down"}}, status_code=500)
        message = {"role": "assistant", "content": "Hi"}
        if body.get("stream"):
            return _events(
                _completion(body, "chat.completion.chunk", delta=message, finish_reason=None),
                _completion(body, "chat.completion.chunk", delta={}, finish_reason="stop"),
                "[DONE]",
            )
        answer = _completion(body, "chat.completion", message=message, finish_reason="stop")
        return JSONResponse({**answer, "usage": USAGE})

    async def respond(self, request):
        body = await self._note(request)
        text = {"type": "output_text", "text": "Hi", "annotations": []}
        item = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
        answer = {
            "id": "r",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": body["model"],
            "output": [{**item, "content": [text]}],
            "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        if body.get("stream"):
            return _events(
                {"type": "response.output_item.added", "item": {**item, "content": []}, **PLACE},
                {"type": "response.output_text.delta", "delta": "Hi", **PLACE},
                {"type": "response.completed", "sequence_number": 1, "response": answer},
            )
        return JSONResponse(answer)

    async def _note(self, request):
        body = await request.json()
        self.calls.append(body)
        return body


def _completion(body, kind, **choice):
    choices = [{"index": 0, **choice}]
    return {"id": "c", "created": 1, "object": kind, "model": body["model"], "choices": choices}


def _events(*events):
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return StreamingResponse(
        (f"data: {line}\n\n" for line in lines), media_type="text/event-stream"
    )


@contextmanager
def serving(app, **options):
    """Serve an app on a free port of loopback, in a thread; yields its URL."""
    config = uvicorn.Config(app, port=0, log_level="error", backlog=2048, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def running_upstream():
    """A provider that serves."""
    fake = Upstream()
    with serving(fake.app) as url:
        fake.url = url + "/v1"
        yield fake
