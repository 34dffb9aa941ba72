"""The two clients behind one face, so that a test is written once and run on both."""

import asyncio
import threading
import time
from contextvars import copy_context
from importlib import import_module

import openai

from router_ml.dispatch import AsyncRoutedOpenAI, RoutedOpenAI, routing_of

with openai.OpenAI(api_key="none") as client:
    http = import_module(type(client.base_url).__module__.partition(".")[0])
    """What openai is built on: httpx2, or httpx before its version 3."""

MATHS = "Prove that √2 is irrational"
FIRST, SECOND = "moonshot-k2.5", "deepseek-r1"  # the shipped policy's models for it


def busy(client):
    """Return the connections of a client that some request still holds."""
    pool = client._client._transport._pool
    return [connection for connection in pool.connections if not connection.is_idle()]


class SyncFace:
    def __init__(self, url, router, **options):
        self.threads = set(threading.enumerate())
        self.client = RoutedOpenAI(base_url=url, api_key="sk-secret", router=router, **options)

    def run(self, answer):
        return answer

    def many(self, ask, count):
        """Run `ask(number)` in as many threads at once; return what each did, or raised."""
        done = [None] * count

        def one(number):
            try:
                done[number] = ask(number)
            except Exception as error:
                done[number] = error

        threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return done

    def read(self, stream):
        """Return the chunks of a stream, and what broke it."""
        chunks = []
        try:
            chunks.extend(stream)
        except Exception as error:
            return chunks, error
        return chunks, None

    def close_stream(self, stream):
        stream.close()

    def close(self):
        assert not busy(self.client)
        self.client.close()
        until = time.monotonic() + 2
        while set(threading.enumerate()) - self.threads and time.monotonic() < until:
            time.sleep(0.01)  # the server's threads end when they notice
        left = set(threading.enumerate()) - self.threads
        assert not left, left


class AsyncFace:
    def __init__(self, url, router, **options):
        self.runner = asyncio.Runner()
        self.client = self.run(self._client(url, router, options))

    async def _client(self, url, router, options):
        return AsyncRoutedOpenAI(base_url=url, api_key="sk-secret", router=router, **options)

    def run(self, answer):
        if not asyncio.iscoroutine(answer):
            return answer
        return self.runner.run(answer, context=copy_context())

    def many(self, ask, count):
        async def all_of_them():
            return await asyncio.gather(*map(ask, range(count)), return_exceptions=True)

        return self.runner.run(all_of_them())

    def read(self, stream):
        async def read():
            chunks = []
            try:
                async for chunk in stream:
                    chunks.append(chunk)
            except Exception as error:
                return chunks, error
            return chunks, None

        return self.runner.run(read())

    def close_stream(self, stream):
        self.runner.run(stream.close())

    def close(self):
        async def close():
            assert not busy(self.client)
            await self.client.close()
            for _ in range(5):  # asyncio itself closes the generators that a stream leaves
                await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

        self.runner.run(close())
        self.runner.close()


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def tried(response):
    return [(attempt.model, attempt.error) for attempt in routing_of(response).attempts]


def chat(face, **options):
    return face.run(
        face.client.chat.completions.create(
            **{"model": "auto", "messages": [{"role": "user", "content": MATHS}], **options}
        )
    )


def respond(face, **options):
    return face.run(face.client.responses.create(**{"model": "auto", "input": MATHS, **options}))
