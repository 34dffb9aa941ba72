import threading

import pytest

from router_ml.dispatch.circuits import COOL_DOWN_S, FAILURES, Circuits


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def circuits(clock):
    return Circuits(clock)


def break_(circuits, model="a"):
    for _ in range(FAILURES):
        circuits.failed(model)


def test_so_many_failures_in_a_row_open_it(circuits):
    for _ in range(FAILURES - 1):
        circuits.failed("a")
    circuits.succeeded("a")
    for _ in range(FAILURES - 1):
        circuits.failed("a")
    assert circuits.admits("a")
    circuits.failed("a")
    assert not circuits.admits("a")
    assert circuits.admits("b")


def test_one_probe_is_let_through_and_decides(circuits, clock):
    break_(circuits)
    clock.now += COOL_DOWN_S
    assert circuits.admits("a")
    assert not circuits.admits("a")
    circuits.failed("a")
    assert not circuits.admits("a")
    clock.now += COOL_DOWN_S
    assert circuits.admits("a")
    circuits.succeeded("a")
    assert circuits.admits("a")
    assert circuits.admits("a")


def test_a_probe_that_tells_nothing_frees_the_place(circuits, clock):
    break_(circuits)
    clock.now += COOL_DOWN_S
    assert circuits.admits("a")
    circuits.unknown("a")
    assert circuits.admits("a")


def test_a_model_that_asks_to_be_left_alone_is(circuits, clock):
    circuits.failed("a", retry_after_s=5)
    circuits.failed("a", retry_after_s=2)
    assert not circuits.admits("a")
    assert circuits.asked_to_wait_s("a") == 5
    clock.now += 5
    assert circuits.admits("a")
    assert circuits.asked_to_wait_s("a") == 0


def test_of_many_threads_one_probes(circuits, clock):
    break_(circuits)
    clock.now += COOL_DOWN_S
    admitted = []
    barrier = threading.Barrier(16)

    def ask():
        barrier.wait()
        admitted.append(circuits.admits("a"))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(admitted) == [False] * 15 + [True]
