"""Maths goes to a reasoning model, in either API, streamed or not.

python examples/dispatch/maths.py
"""

import asyncio

from provider import Provider

from router_ml.dispatch import AsyncRoutedOpenAI, routing_of

PROOF = "Prove that the square root of 2 is irrational"
CHAT = [{"role": "user", "content": "Solve x² - 5x + 6 = 0 step by step"}]


async def main() -> None:
    """Ask twice at once, then read a stream."""
    with Provider() as provider:
        async with AsyncRoutedOpenAI(base_url=provider.url, api_key="none") as client:
            response, completion = await asyncio.gather(
                client.responses.create(model="auto", input=PROOF),
                client.chat.completions.create(model="auto", messages=CHAT),
            )
            print(f"{routing_of(response).route}: {response.output_text}")
            print(f"{routing_of(completion).route}: {completion.choices[0].message.content}")
            stream = await client.responses.create(model="auto", input=PROOF, stream=True)
            print(f"{routing_of(stream).route}: ", end="")
            async for event in stream:
                if event.type == "response.output_text.delta":
                    print(event.delta, end="")
            print(f" ({routing_of(stream).usage.output_tokens} tokens)")


asyncio.run(main())
