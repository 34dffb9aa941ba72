"""What a run has finished, beside its output: so that another goes on where it ended.

    output/_manifest/run.json            what answers depend on: artifact, policy, options
    output/_manifest/<fragment>.json     a finished fragment: its part of the input, its files
    output/_manifest/<fragment>.begun    the files of one that is about to be finished
    output/_manifest/run.lock            which run writes here: one at a time
    output/_bad/<fragment>.jsonl         rows that could not be read, each with its origin
    output/_partial/<run>/               what is being written

A fragment is finished when its record is there, which appears behind its files. Those of one
that was begun and got no record are deleted, by the next run or the next attempt. Its name is
the fingerprint of its part of the input, so that an input that changed is another fragment.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import msgspec
from pyarrow import fs

from router_ml.batch.fragments import Found, Fragment, open_file_system, said
from router_ml.errors import BatchError

MANIFEST, BAD, PARTIAL = "_manifest", "_bad", "_partial"
_RUN, _LOCK = "run.json", "run.lock"
_WRITTEN = re.compile(r"_.*|([^/]+=[^/]*/)?[0-9a-f]{16}-\d+\.parquet")
_HELD: set[str] = set()
"""Runs of this process."""


class Finished(msgspec.Struct, frozen=True):
    """A finished fragment.

    Attributes:
        fingerprint: names it.
        path, start, stop: the part of the input that it is.
        size: of that part, in bytes.
        rows: how many were decided on.
        bad: how many could not be read.
        routes: route -> rows.
        cost: of the decided models, in US dollars; a model without a price counts as nothing.
        baseline_cost: the same if the catalog's baseline had got every row.
        files: what was written, within the output.

    """

    fingerprint: str
    path: str
    start: int
    stop: int
    size: int
    rows: int = 0
    bad: int = 0
    routes: dict[str, int] = {}
    cost: float = 0.0
    baseline_cost: float = 0.0
    files: list[str] = []

    def counts(self) -> dict[str, float]:
        """Return what it adds to an engine's metrics."""
        return {
            "rows": self.rows,
            "bad_rows": self.bad,
            "input_bytes": self.size,
            "cost_dollars": self.cost,
            "baseline_cost_dollars": self.baseline_cost,
        }


class Identity(msgspec.Struct, frozen=True):
    """What the answers of a run depend on, besides its input.

    Attributes:
        artifact, policy, catalog: SHA-256 of each.
        second: of the artifact that the policy asks in doubt, wherever it is; "" without one.
        by: what the output is partitioned by; "" if it is not.
        mapping: where rows keep what they say.
        columns: of JSON Lines.

    """

    artifact: str
    policy: str
    catalog: str
    by: str
    mapping: dict[str, str]
    columns: dict[str, str]
    second: str = ""

    def differences(self, other: Identity) -> list[str]:
        """Name what differs; the columns do not count, for runs add to them."""
        fields = [name for name in self.__struct_fields__ if name != "columns"]
        return [name for name in fields if getattr(self, name) != getattr(other, name)]


class Holder(msgspec.Struct, frozen=True):
    """Which run writes into an output.

    Attributes:
        run: names it.
        host, process: where it runs.

    """

    run: str
    host: str
    process: int

    @classmethod
    def of(cls, run: str) -> Holder:
        """Return the holder that a run of this process is."""
        return cls(run, platform.node(), os.getpid())

    def is_gone(self) -> bool:
        """Say whether it has ended for certain; of another machine's, nobody can tell."""
        if self.host != platform.node() or os.name == "nt":  # there, asking would end it
            return False
        if self.process == os.getpid():  # or that of an earlier container, as its first process
            return self.run not in _HELD
        try:
            os.kill(self.process, 0)
        except OSError as error:
            return isinstance(error, ProcessLookupError)
        return False


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's JSON, its keys sorted."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


class Output(NamedTuple):
    """A directory of output, on whatever file system.

    Attributes:
        uri: names it.
        run: the run that writes there.

    """

    uri: str
    run: str

    def place(self, *names: str) -> tuple[fs.FileSystem, str]:
        """Return the file system, and the path of something within the output."""
        system, root = open_file_system(self.uri)
        return system, "/".join((root.rstrip("/"), *names))

    def has(self, file: Found) -> bool:
        """Say whether a file is one that runs wrote here; other files may lie beside them."""
        system, root = self.place("")
        if open_file_system(file.source)[0] != system or not file.info.path.startswith(root):
            return False
        return _WRITTEN.fullmatch(file.info.path[len(root) :]) is not None

    def partial(self, *names: str) -> tuple[fs.FileSystem, str]:
        """Return the file system, and the path of something that this run has not published."""
        return self.place(PARTIAL, self.run, *names)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs away meanwhile, and leave nothing behind but output.

        Raises:
            BatchError: another run writes here.

        """
        _HELD.add(self.run)
        try:
            with self.written():
                self._take()
            yield
        finally:
            _HELD.discard(self.run)
            with suppress(OSError):  # what ended the run is worth more than this
                self._release()

    @contextmanager
    def written(self) -> Iterator[None]:
        """Say in one sentence that the output cannot be written; reading says so itself."""
        try:
            yield
        except OSError as error:
            raise BatchError(
                f"{self.uri}: cannot be written: {said(error)}. What is finished stays; run the "
                "same again to go on."
            ) from error

    def begin(self, identity: Identity, *, overwrite: bool) -> Identity:
        """Start a run, or go on with the one that is here; return what it depends on.

        Whatever is partial is of a run that has ended, since this one holds the output.

        Raises:
            BatchError: the output is of another artifact, policy or options.

        """
        known: Identity | None = self._read(_RUN, Identity)
        if known is not None and overwrite and identity.differences(known):
            self.remove(self.finished())
            known = None
        if known is not None and (differing := identity.differences(known)):
            raise BatchError(
                f"{self.uri} has the output of a run with another {' and another '.join(differing)}"
                ": name another directory, or --overwrite to delete that run's files."
            )
        self._undo_unfinished()
        self._clear(PARTIAL)
        if known is not None:  # a column that an earlier run has stays of its type
            columns = {**identity.columns, **known.columns}
            identity = msgspec.structs.replace(identity, columns=columns)
        self._record(_RUN, identity)
        return identity

    def finished(self) -> list[Finished]:
        """Return every finished fragment."""
        found = (self._read(f"{name}.json", Finished) for name in self._fragments(".json"))
        return [each for each in found if each is not None]

    def record(self, finished: Finished) -> None:
        """Say that a fragment is finished.

        Raises:
            BatchError: the output is another run's by now.

        """
        self._check_held()
        self._record(f"{finished.fingerprint}.json", finished)
        self._delete(f"{MANIFEST}/{finished.fingerprint}.begun")

    def remove(self, finished: Iterable[Finished]) -> None:
        """Delete finished fragments, as if they had only been begun."""
        for each in finished:
            self._record(f"{each.fingerprint}.begun", each.files)
            self._delete(f"{MANIFEST}/{each.fingerprint}.json")
            self._undo(each.fingerprint)

    def publish(self, fingerprint: str, partial: str, names: Sequence[str]) -> None:
        """Move files of a partial directory to their places, having said which they are.

        Raises:
            OSError: one of them is not there, or cannot be moved.
            BatchError: the output is another run's by now.

        """
        self._check_held()
        self._undo(fingerprint)
        self._record(f"{fingerprint}.begun", names)
        system, start = self.partial(partial)
        for name in names:
            target = self.place(name)[1]
            system.create_dir(target.rpartition("/")[0])
            system.move(f"{start}/{name}", target)

    def discard(self, partial: str) -> None:
        """Delete a partial directory."""
        self._clear(f"{PARTIAL}/{self.run}/{partial}")

    def _fragments(self, suffix: str) -> list[str]:
        """Return the fingerprints of which the manifest has such a file."""
        system, path = self.place(MANIFEST)
        entries = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
        names = sorted(each.base_name for each in entries if each.base_name.endswith(suffix))
        return [name.removesuffix(suffix) for name in names if name != _RUN]

    def _undo_unfinished(self) -> None:
        finished = set(self._fragments(".json"))
        for fingerprint in self._fragments(".begun"):
            if fingerprint in finished:
                self._delete(f"{MANIFEST}/{fingerprint}.begun")
            else:
                self._undo(fingerprint)

    def _undo(self, fingerprint: str) -> None:
        """Delete the files of a fragment that was begun, and last that it was."""
        for name in self._read(f"{fingerprint}.begun", list[str]) or []:
            self._delete(name)
        self._delete(f"{MANIFEST}/{fingerprint}.begun")

    def _take(self) -> None:
        holder = self._read(_LOCK, Holder)
        if holder is not None and not holder.is_gone():
            raise BatchError(
                f"{self.uri} is being written by another run, process {holder.process} on "
                f"{holder.host}. If that has ended, delete {self.place(MANIFEST, _LOCK)[1]} and "
                "run the same again."
            )
        self._record(_LOCK, Holder.of(self.run))

    def _release(self) -> None:
        if self._is_held():
            with suppress(OSError):  # a worker may be writing still
                self._clear(PARTIAL)
            self._delete(f"{MANIFEST}/{_LOCK}")

    def _is_held(self) -> bool:
        holder = self._read(_LOCK, Holder)
        return holder is not None and holder.run == self.run

    def _check_held(self) -> None:
        """Check that the run goes on: a worker may outlive it, and meet the next one's files."""
        if not self._is_held():
            raise BatchError(
                f"{self.uri}: this run's lock is gone, or another run's. What is finished stays; "
                "run the same again to go on."
            )

    def _read(self, name: str, kind: Any) -> Any:
        system, path = self.place(MANIFEST, name)
        if system.get_file_info(path).type == fs.FileType.NotFound:
            return None
        with system.open_input_stream(path) as stream:
            data = stream.read()
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise BatchError(f"{path} is no record of a run: {error}.") from error

    def _record(self, name: str, value: Any) -> None:
        system, path = self.place(MANIFEST, name)
        system.create_dir(path.rpartition("/")[0])
        with system.open_output_stream(f"{path}.part") as stream:
            stream.write(msgspec.json.encode(value))
        system.move(f"{path}.part", path)

    def _delete(self, name: str) -> None:
        system, path = self.place(name)
        if system.get_file_info(path).is_file:
            system.delete_file(path)

    def _clear(self, name: str) -> None:
        system, path = self.place(name)
        system.delete_dir_contents(path, missing_dir_ok=True)
        if system.get_file_info(path).type == fs.FileType.Directory:
            system.delete_dir(path)


def outdated(
    finished: Sequence[Finished], files: Sequence[Found], fragments: Sequence[Fragment]
) -> list[Finished]:
    """Return what was finished of files that are no longer as they were then.

    One of which nothing is left has no fragment. What is no input of this run stays: runs may
    share an output, and logs are deleted when they are old.
    """
    paths = {file.info.path for file in files}
    now = {fragment.fingerprint for fragment in fragments}
    return [each for each in finished if each.path in paths and each.fingerprint not in now]
