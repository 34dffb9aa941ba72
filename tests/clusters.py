"""A real Ray cluster of two nodes on this machine, a core's worth of workers on each."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PORTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "runtime_env_agent_port",
    "dashboard_agent_listen_port",
)
"""A node that is told them need not wait for its agents, whom it gives 15 seconds to start."""


@contextmanager
def two_nodes() -> Iterator[None]:
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_raylet_start_wait_time_s="120",
        PYTHONPATH=os.pathsep.join([*map(str, (ROOT, ROOT / "tests"))]),  # of the workers
    )
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**_node(), "include_dashboard": False})
    try:
        cluster.add_node(**_node())
        ray.init(address=cluster.address, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def _node() -> dict[str, Any]:
    return {"num_cpus": 1, "object_store_memory": 100 << 20} | dict(
        zip(PORTS, _free_ports(len(PORTS)), strict=True)
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
