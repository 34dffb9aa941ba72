"""Everyday requests: a question, a poem, a photograph; each gets the model its policy names.

python examples/dispatch/general.py
"""

from provider import Provider

from router_ml.dispatch import RoutedOpenAI, routing_of

QUESTION = [{"role": "user", "content": "What is the capital of Australia?"}]
POEM = [{"role": "user", "content": "Write a short poem about the sea"}]
PHOTOGRAPH = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is in this picture?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        ],
    }
]

with Provider() as provider, RoutedOpenAI(base_url=provider.url, api_key="none") as client:
    for messages in (QUESTION, POEM, PHOTOGRAPH):
        completion = client.chat.completions.create(model="auto", messages=messages)
        routing = routing_of(completion)
        sent = provider.received[-1].body
        print(f"{routing.route}: {completion.choices[0].message.content}")
        print(f"  temperature {sent['temperature']}, ${routing.cost:.6f}, ", end="")
        print(f"${routing.baseline_cost:.6f} with the baseline")
