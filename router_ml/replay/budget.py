"""A cap that holds: what a request can cost at most is reserved before it is sent."""

from __future__ import annotations

import asyncio


class Budget:
    """Money that may be spent, in US dollars. For one event loop.

    Attributes:
        cap: the most.
        spent: what was spent; more than the cap only if a provider took more than was reserved.

    """

    def __init__(self, cap: float, spent: float = 0.0) -> None:
        self.cap, self.spent = cap, spent
        self._reserved: list[float] = []
        self._freed = asyncio.Event()

    async def reserve(self, usd: float) -> bool:
        """Reserve an amount, once it fits; False if it will not, whatever is still open."""
        while self.spent + sum(self._reserved) + usd > self.cap:
            if not self._reserved:
                return False
            self._freed.clear()
            await self._freed.wait()
        self._reserved.append(usd)
        return True

    def settle(self, reserved: float, spent: float) -> None:
        """Give a reservation back, and count what was really spent."""
        self._reserved.remove(reserved)
        self.spent += spent
        self._freed.set()
