"""RoutedOpenAI and AsyncRoutedOpenAI: the openai clients, with `model="auto"`.

Every method of a client ends in `request`, so that is the one place where routing happens,
and `create`, `parse`, `stream`, raw and streamed responses and copies need nothing of their
own. The two faces differ in nothing but waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import anyio
from openai import APITimeoutError, AsyncOpenAI, OpenAI, Timeout

from router_ml.dispatch.answers import attach, check, http_response_of
from router_ml.dispatch.call import Call, Pause, Turn
from router_ml.dispatch.decision_log import DecisionLog
from router_ml.dispatch.dispatcher import Dispatcher
from router_ml.dispatch.limits import given_timeout, trace
from router_ml.dispatch.streams import relay, relay_async
from router_ml.dispatch.trials import Decides
from router_ml.router import Router

if TYPE_CHECKING:
    from openai._models import FinalRequestOptions

ATTEMPT_TIMEOUT_S = 30.0
"""Seconds that one attempt may take, by default: to its answer, or its first token."""


class ClientOptions(TypedDict, total=False):
    """The openai clients' own arguments; those that only some versions have work as well."""

    api_key: Any
    organization: str | None
    project: str | None
    webhook_secret: str | None
    base_url: Any
    websocket_base_url: Any
    timeout: float | Timeout | None
    max_retries: int
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, object] | None
    http_client: Any


class _Routed:
    """What both clients are made with, and what their copies keep."""

    def __init__(
        self,
        *,
        router: Decides | None = None,
        shadow: Decides | None = None,
        canary: tuple[Decides, float] | None = None,
        decision_log: DecisionLog | None = None,
        attempt_timeout_s: float = ATTEMPT_TIMEOUT_S,
        _dispatcher: Dispatcher | None = None,
        **client: Unpack[ClientOptions],
    ) -> None:
        """Make a client.

        Args:
            router: what decides; the shipped artifact, policy and catalog by default.
            shadow: a router that is asked as well, and whose disagreements are logged.
            canary: a router, and the share of traffic in [0, 1] for which it decides.
            decision_log: where every decision is written.
            attempt_timeout_s: seconds that one attempt may take: to its answer, or to the
                first token of its stream.
            _dispatcher: what a copy shares with the client it is of.
            **client: the openai client's own arguments.

        Raises:
            RouterMLError: the shipped artifact cannot be used, or the share is none.
            openai.OpenAIError: the client's own arguments cannot be used.

        """
        super().__init__(**client)  # type: ignore[misc]  # the openai client, by the MRO
        self._dispatcher = _dispatcher or Dispatcher(
            router or Router.load(),
            shadow=shadow,
            canary=canary,
            decision_log=decision_log,
            attempt_s=attempt_timeout_s,
        )

    if not TYPE_CHECKING:  # so that its signature stays openai's

        def copy(self, **changes: Any) -> Any:
            """Return a client with other options, which shares router, circuits and logs."""
            extra = {"_dispatcher": self._dispatcher, **changes.pop("_extra_kwargs", {})}
            return super().copy(_extra_kwargs=extra, **changes)

        with_options = copy


class RoutedOpenAI(_Routed, OpenAI):
    """`openai.OpenAI`, which asks a router where `model="auto"` goes, and falls back.

    Chat Completions and Responses are routed; whatever names its model passes through
    untouched. A routed request takes what its policy's parameters say where the caller says
    nothing, and what the caller tells the router in `metadata`, as tags, and in
    `extra_body={"routing": {"tags": {…}, "conversation": "key"}}`, which is not sent.

    `routing_of(response)` says what was decided, tried and spent.

    The route's models are tried in order, each for `attempt_timeout_s` seconds at most.
    `max_retries` is how many attempts may follow when each has had its turn. A `timeout` that
    is a number, of the call or of the client, bounds the whole call, streams included; an
    `openai.Timeout` bounds its phases, as ever.
    """

    def _prepare_request(self, request: Any) -> None:
        super()._prepare_request(request)
        # Of every request, for whichever opens a connection, routed ones may use it next.
        request.extensions.setdefault("trace", trace)

    def request(
        self,
        cast_to: Any,
        options: FinalRequestOptions,
        *,
        stream: bool = False,
        stream_cls: Any = None,
    ) -> Any:
        """Send a request, routed if it asks for it; every method of the client ends here.

        Raises:
            AllAttemptsFailed: no model answered; it holds all their errors.
            DispatchError: its `routing` cannot be used, or its route names no model.
            openai.OpenAIError: what no other model can cure, such as a bad request or key.

        """
        call = _call_of(self, options)
        if call is None:
            return super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        while (step := call.next_step()) is not None:
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                continue
            try:
                return self._attempt(call, step, cast_to, stream, stream_cls)
            except BaseException as error:
                call.failed(step, error)
        raise call.exhausted(self._build_request(options))

    def _attempt(self, call: Call, turn: Turn, cast_to: Any, stream: bool, stream_cls: Any) -> Any:
        options = call.options(turn.model, turn.limit)
        rebuild = partial(self._build_request, options)
        try:
            with turn.limit.in_force():
                answer = super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
                is_open = self._hand_on(call, answer, stream)
        except TimeoutError as error:
            raise APITimeoutError(request=rebuild()) from error
        return _settled(call, turn, answer, cast_to, is_open, rebuild)

    def _hand_on(self, call: Call, answer: Any, stream: bool) -> bool:
        """Relay an answer that is still to be read; say whether it is one."""
        response = http_response_of(answer)
        if response is None or response.is_closed:
            return False
        try:
            relay(response, call.limit, call.over, events=stream)
        except BaseException:
            response.close()
            raise
        return True


class AsyncRoutedOpenAI(_Routed, AsyncOpenAI):
    """`openai.AsyncOpenAI`, which asks a router where `model="auto"` goes, and falls back.

    All that RoutedOpenAI says holds.
    """

    async def request(
        self,
        cast_to: Any,
        options: FinalRequestOptions,
        *,
        stream: bool = False,
        stream_cls: Any = None,
    ) -> Any:
        """Send a request, routed if it asks for it, as RoutedOpenAI does."""
        call = _call_of(self, options)
        if call is None:
            return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        while (step := call.next_step()) is not None:
            if isinstance(step, Pause):
                await anyio.sleep(step.seconds)
                continue
            try:
                return await self._attempt(call, step, cast_to, stream, stream_cls)
            except BaseException as error:
                call.failed(step, error)
        raise call.exhausted(self._build_request(options))

    async def _attempt(
        self, call: Call, turn: Turn, cast_to: Any, stream: bool, stream_cls: Any
    ) -> Any:
        options = call.options(turn.model, call.limit)
        rebuild = partial(self._build_request, options)
        try:
            with anyio.fail_after(turn.limit.left_s()):
                answer = await super().request(
                    cast_to, options, stream=stream, stream_cls=stream_cls
                )
                is_open = await self._hand_on(call, answer, stream)
        except TimeoutError as error:
            raise APITimeoutError(request=rebuild()) from error
        return _settled(call, turn, answer, cast_to, is_open, rebuild)

    async def _hand_on(self, call: Call, answer: Any, stream: bool) -> bool:
        response = http_response_of(answer)
        if response is None or response.is_closed:
            return False
        try:
            await relay_async(response, call.limit, call.over, events=stream)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await response.aclose()
            raise
        return True


def _call_of(client: RoutedOpenAI | AsyncRoutedOpenAI, options: FinalRequestOptions) -> Call | None:
    return client._dispatcher.call(
        options,
        timeout=given_timeout(options.timeout, client.timeout),
        retries=options.get_max_retries(client.max_retries),
        endpoint=str(client.base_url),
    )


def _settled(
    call: Call,
    turn: Turn,
    answer: Any,
    cast_to: Any,
    is_open: bool,
    rebuild: Callable[[], Any],
) -> Any:
    """Note an answer, put what was decided on it, and return it."""
    response = http_response_of(answer)
    usage = None if is_open else check(answer, cast_to, response, rebuild)
    call.answered(turn)
    attach(call.routing, answer, response)
    if not is_open:
        call.over(None, usage)
    return answer
