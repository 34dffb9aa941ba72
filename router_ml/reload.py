"""A router that follows its files: what changes on disk is taken up while it decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

from router_ml.artifact import find_artifact
from router_ml.catalog import Catalog
from router_ml.classifier import check_replay
from router_ml.errors import PolicyError, RouterMLError
from router_ml.policy import Policy
from router_ml.router import Router
from router_ml.types import Decision, Tags

log = logging.getLogger(__name__)


class ReloadingRouter(Router):
    """A Router that reads its files again when they change.

    A change is taken up once it has rested from one look to the next, is loaded and
    verified in a thread of its own, and put in the old one's place at once: every request
    is decided by the old files or by the new ones, and waits for no load, only for some
    milliseconds of the interpreter's lock. What cannot be used is refused with one log
    record (`router_ml.reload`), and the old files stay in use. Conversations keep their
    routes unless `[sticky]` itself changed.

    Close it, or use it in a `with` statement, to end the thread. A process that forks
    loads it after the fork, since threads stay behind.
    """

    def __init__(
        self,
        load: Callable[[], Router],
        paths: Iterable[Path],
        every_s: float = 1.0,
        policy: Path | Policy | None = None,
    ) -> None:
        """Load a router, and follow files and directories.

        Args:
            load: reads and checks everything; called again after each change.
            paths: what is looked at; of a directory, the files in it.
            every_s: how often, in seconds.
            policy: whose second artifact is looked at too, wherever it is at the time.

        """
        self._load, self._paths, self._policy = load, tuple(paths), policy
        self._known: tuple[tuple[object, ...] | None, tuple[Path, ...]] = None, ()
        self._seen = self._tried = self._state()
        self._adopt(load())
        self._closed = Event()
        self._thread = Thread(
            target=self._follow, args=(every_s,), name="router-ml reload", daemon=True
        )
        self._thread.start()

    @classmethod
    def load(
        cls,
        artifact: str | Path | None = None,
        *,
        policy: str | Path | Policy | None = None,
        catalog: str | Path | Catalog | None = None,
        every_s: float = 1.0,
    ) -> Self:
        """Load as `Router.load` does, check the golden rows, and follow the files given.

        Raises:
            ArtifactError: the artifact is missing, altered or unsupported.
            PolicyError: the policy is malformed or does not fit artifact and catalog.
            CatalogError: the catalog is malformed.

        """
        directory = find_artifact(artifact).absolute()  # the process may move to another one
        rules = policy.beside(Path.cwd()) if isinstance(policy, Policy) else _absolute(policy)
        models = catalog if isinstance(catalog, Catalog) else _absolute(catalog)
        files = [given for given in (directory, rules, models) if isinstance(given, Path)]
        return cls(partial(_load_verified, directory, rules, models), files, every_s, rules)

    def route(
        self, request: Any, *, tags: Tags | None = None, conversation: str | None = None
    ) -> Decision:
        """Decide as `Router.route` does, by the files in use."""
        return self._router.route(request, tags=tags, conversation=conversation)

    def route_many(self, requests: Iterable[Any], *, tags: Tags | None = None) -> list[Decision]:
        """Decide as `Router.route_many` does, all of them by the same files."""
        return self._router.route_many(requests, tags=tags)

    def look(self) -> None:
        """Look at the files once; take up what changed and has rested since the last look."""
        state = self._state()
        rested, self._seen = state == self._seen, state
        if rested and state != self._tried:
            self._tried = state
            self._reload()

    def close(self) -> None:
        """Stop following the files; it decides on by those in use."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _follow(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            try:
                self.look()
            except Exception:  # whatever it was, the next look may find it gone
                log.exception("The files could not be looked at; those in use stay.")

    def _state(self) -> tuple[object, ...]:
        state = tuple(map(_state_of, self._paths))
        if state != self._known[0]:  # the policy may name another second artifact than before
            self._known = state, _second_of(self._policy)
        return (*state, *map(_state_of, self._known[1]))

    def _reload(self) -> None:
        try:
            fresh = self._load()
        except Exception as error:  # whatever is wrong with new files, the old ones go on
            ours = isinstance(error, RouterMLError)
            log.error("Changed files are refused, the old ones stay: %s", error, exc_info=not ours)
            return
        if fresh.policy.sticky == self.policy.sticky:
            fresh.conversations = self.conversations
        self._adopt(fresh)
        log.info("Changed files are in use: %s", ", ".join(map(str, self._paths)))

    def _adopt(self, router: Router) -> None:
        """Put a router in the old one's place; a call in progress ends with the old one."""
        self.artifact, self.policy, self.catalog = router.artifact, router.policy, router.catalog
        self.second, self.classifier = router.second, router.classifier
        self.conversations = router.conversations
        self._router = router


def _load_verified(
    artifact: Path, policy: Path | Policy | None, catalog: Path | Catalog | None
) -> Router:
    router = Router.load(artifact, policy=policy, catalog=catalog)
    for each, _, difference in router.replays():
        check_replay(each, difference)
    return router


def _absolute(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path).absolute()


def _second_of(policy: Path | Policy | None) -> tuple[Path, ...]:
    """Return where the second artifact is that a policy names, if it can be read and names one."""
    try:
        rules = Policy.read(policy) if isinstance(policy, Path) else policy
    except PolicyError:
        return ()
    return () if rules is None or rules.second is None else (Path(rules.second.artifact),)


def _state_of(path: Path) -> tuple[object, ...]:
    """Return what differs when a file, or one in a directory, was changed; () if none is there."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [(file.name, file.stat()) for file in files]
    except (OSError, ValueError):  # no path has a null character
        return ()
    return tuple((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in stats)
