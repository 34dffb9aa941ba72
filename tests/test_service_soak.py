"""The service for minutes at the highest rate that some clients reach: no error, no growth.

SOAK_S=180 pytest -m soak tests/test_service_soak.py -s
"""

import os
import threading
import time
from pathlib import Path

import httpx2
import pytest
from test_service import PAYLOAD, process

CLIENTS = 8
WARM_S = 15
SOAK_S = float(os.environ.get("SOAK_S", "180"))
GROWTH_MB = 5
QUERY = {
    "state": "Prove it",
    "questions": {"tier": {"type": "choice", "criteria": {"math": "", "general": ""}}},
}
BODIES = (
    ("/v1/route", PAYLOAD),
    ("/v1/route", [PAYLOAD] * 20),
    ("/v1/route", {"input": "中文" * 20_000}),
    ("/v1/systemone", QUERY),
    ("/v1/route", {"metadata": {"session_id": "s"}, "messages": []}),
)


def resident_mb(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_minutes_at_the_highest_rate_leave_no_trace():
    answered, failures, over = [0] * CLIENTS, [], threading.Event()

    def ask(number, url):
        with httpx2.Client(base_url=url, timeout=30) as client:
            while not over.is_set():
                path, body = BODIES[answered[number] % len(BODIES)]
                try:
                    client.post(path, json=body).raise_for_status()
                except httpx2.HTTPError as error:
                    failures.append(error)
                answered[number] += 1

    with process() as (running, client):
        threads = [
            threading.Thread(target=ask, args=(number, client.base_url))
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        time.sleep(WARM_S)
        warm = resident_mb(running.pid)
        time.sleep(SOAK_S)
        over.set()
        for thread in threads:
            thread.join()
        found = resident_mb(running.pid)
    rate = sum(answered) / (WARM_S + SOAK_S)
    print(f"{sum(answered):,} requests, {rate:,.0f}/s, {warm:.1f} -> {found:.1f} MiB")
    assert not failures
    assert found - warm < GROWTH_MB
