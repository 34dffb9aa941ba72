"""Completions that come through: busy, hung and broken models are fallen back from.

python examples/dispatch/robust.py
"""

import openai
from provider import Provider

from router_ml.dispatch import AllAttemptsFailed, RoutedOpenAI, routing_of

MATHS = [{"role": "user", "content": "Prove that the square root of 2 is irrational"}]

with (
    Provider() as provider,
    RoutedOpenAI(base_url=provider.url, api_key="none", attempt_timeout_s=0.5) as client,
):
    for fault in ("500", "hang", "malformed", "429 retry-after=0"):
        provider.faults["moonshot-k2.5"] = [fault]
        completion = client.chat.completions.create(model="auto", messages=MATHS)
        tried = [f"{one.model} ({one.error or 'ok'})" for one in routing_of(completion).attempts]
        print(f"{fault}: {', '.join(tried)}")

    provider.faults["moonshot-k2.5"] = ["cut-head"]
    stream = client.chat.completions.create(model="auto", messages=MATHS, stream=True)
    print("stream:", "".join(chunk.choices[0].delta.content or "" for chunk in stream))

    provider.faults["moonshot-k2.5"] = provider.faults["deepseek-r1"] = ["503", "*"]
    try:
        client.with_options(timeout=2).chat.completions.create(model="auto", messages=MATHS)
    except AllAttemptsFailed as error:
        print(f"{type(error).__name__}: {error}")

    provider.faults["moonshot-k2.5"] = ["401"]
    try:
        client.chat.completions.create(model="auto", messages=MATHS)
    except openai.AuthenticationError as error:
        print(f"at once: {error}")
