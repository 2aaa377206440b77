"""Says when a look is worth while: on file events where there are any, else from time to time."""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver, ObservedWatch

log = logging.getLogger(__name__)

ACTIVE_POLL_S: Final = 0.02
"""How often files with recent events are looked at beside the events, which may be held back."""
ACTIVE_S: Final = 2.0
"""So long after an event a file counts as active."""
BUSY: Final = 100
"""More events than these in `RATE_S` cost more than they are worth: for `BUSY_S` the active files are polled alone."""
RATE_S: Final = 0.2
BUSY_S: Final = 5.0
_WATCHES: Final = 200
_POLLED: Final = 64
"""At most so many active files are polled, those with the latest events."""
_EVENTS: Final[list[type[FileSystemEvent]]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]
"""Not opened or closed: we would wake ourselves by reading."""


class Waker:
    """Wakes the one thread that waits, when a file of the globs or beside them may have changed.

    Events only wake; what happened is for the look to find out. At least every `poll_s` seconds it wakes anyway.
    """

    def __init__(
        self, patterns: Sequence[str], poll_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patterns = [os.path.split(os.path.abspath(pattern)) for pattern in patterns]
        self._poll_s = poll_s
        self._clock = clock
        self._woken = threading.Event()
        self._active: dict[str, float] = {}
        self._seen: dict[str, tuple[int, int, int] | None] = {}
        self._events = 0
        self._events_since = clock()
        self._busy_until = clock()
        self._polled_at = clock()
        self._prefixes = tuple(_prefix(name) for _, name in self._patterns)
        self._watches: dict[str, tuple[ObservedWatch, int]] = {}  # with the inode of the directory
        self._deleted: set[str] = set()
        self._links: dict[str, tuple[int, set[str]]] = {}
        self._failed: set[str] = set()
        self._observer: BaseObserver | None = None
        self._handler = _Handler(self._noticed)
        try:
            observer = Observer()
            observer.start()
        except (OSError, RuntimeError) as error:
            self._cannot_watch("files", error)
        else:
            self._observer = observer
            self._watch()

    def wait(self, timeout_s: float) -> bool:
        """Wait until something may have changed, at most `timeout_s`; whether it did (or a poll is due)."""
        deadline = self._clock() + timeout_s
        while True:
            now = self._clock()
            if self._active:
                self._let_idle(now)
            if self._events > BUSY and now >= self._busy_until:
                self._stop_watching(now)
            pause = min(deadline, self._polled_at + self._poll_s) - now
            if self._woken.wait(max(0.0, min(pause, ACTIVE_POLL_S) if self._active else pause)):
                self._woken.clear()
                self._active_changed()  # what the event told is known: only what comes after it is news
                return True
            now = self._clock()
            if self._active and self._active_changed():
                return True
            if now >= self._polled_at + self._poll_s:
                self._polled_at = now
                self._watch()
                return True
            if now >= deadline:
                return False

    @property
    def watched(self) -> set[str]:
        """The directories whose events wake at present."""
        return set(self._watches)

    def wake(self) -> None:
        """Let the waiting thread go on; may be called from any thread."""
        self._woken.set()

    def close(self) -> None:
        """Stop watching, and wake whoever waits."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None
        self.wake()

    # --- events ------------------------------------------------------------------------------------------------------

    def _noticed(self, event: FileSystemEvent) -> None:
        """An event came (in the observer's thread)."""
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        if isinstance(event, DirDeletedEvent):
            self._deleted.update(paths)
        if not event.is_directory and not any(self._concerns_us(path) for path in paths):
            return
        now = self._clock()
        if now - self._events_since > RATE_S:
            self._events, self._events_since = 0, now
        self._events += 1
        for path in paths:
            self._active.pop(path, None)  # the latest stand last
            self._active[path] = now
        self._woken.set()

    def _concerns_us(self, path: str) -> bool:
        """Whether the file may be a log or a rotated one, rather than that of another program beside them."""
        directory, name = os.path.split(path)
        return name.startswith(self._prefixes) or any(directory in targets for _, targets in list(self._links.values()))

    def _let_idle(self, now: float) -> None:
        """Forget the files that had no event for a while."""
        for path, moment in list(self._active.items()):
            if now - moment > ACTIVE_S:
                self._active.pop(path, None)
                self._seen.pop(path, None)

    def _active_changed(self) -> bool:
        """Whether an active file, or its directory, is not what it was."""
        changed = False
        files = list(self._active)[-_POLLED:]
        for path in {*files, *(os.path.dirname(file) for file in files)}:
            try:
                seen = os.stat(path)
                state = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
            except OSError:
                state = None
            if path not in self._seen or self._seen[path] != state:
                changed = True
                if path in self._active:
                    self._active[path] = self._clock()
            self._seen[path] = state
        return changed

    # --- what to watch -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Watch every directory of the globs, or the nearest parent of one that is not there yet."""
        observer = self._observer
        if observer is None or self._clock() < self._busy_until:
            return
        wanted = self._directories()
        deleted, self._deleted = self._deleted, set()
        for directory, (watch, inode) in list(self._watches.items()):
            if directory not in wanted or directory in deleted or _inode(directory) != inode:
                observer.unschedule(watch)
                del self._watches[directory]
        for directory in wanted - self._watches.keys() - self._failed:
            try:
                inode = _inode(directory)
                watch = observer.schedule(self._handler, directory, event_filter=_EVENTS)
            except FileNotFoundError:
                continue
            except OSError as error:  # the limit of watches, a file system without them
                self._cannot_watch(directory, error)
                self._failed.add(directory)
            else:
                self._watches[directory] = watch, inode

    def _directories(self) -> set[str]:
        wanted: set[str] = set()
        for directory, name in self._patterns:
            found = glob.glob(directory, recursive=True) if glob.has_magic(directory) else [directory]
            for one in found:
                wanted.add(_nearest(one))
                wanted |= self._link_targets(one, name)
            if glob.has_magic(directory):
                wanted.add(_nearest(directory))
        return set(sorted(wanted)[:_WATCHES])

    def _link_targets(self, directory: str, name: str) -> set[str]:
        """The directories to which links among the files of one directory lead."""
        try:
            changed_ns = os.stat(directory).st_mtime_ns
            known = self._links.get(directory)
            if known is None or known[0] != changed_ns:
                with os.scandir(directory) as entries:
                    links = [one.path for one in entries if one.is_symlink() and fnmatch.fnmatch(one.name, name)]
                known = (changed_ns, {_nearest(os.path.dirname(os.path.realpath(link))) for link in links})
                self._links[directory] = known
        except OSError:
            return set()
        return known[1]

    def _stop_watching(self, now: float) -> None:
        """While very much is written the active files are polled: the events would cost more than the reading."""
        self._busy_until, self._events = now + BUSY_S, 0
        if self._observer is not None:
            self._observer.unschedule_all()
            self._watches.clear()

    def _cannot_watch(self, what: str, error: Exception) -> None:
        log.warning("no file events for %s (%s): looking every %g s instead", what, error, self._poll_s)


class _Handler(FileSystemEventHandler):
    """Passes every event on."""

    def __init__(self, noticed: Callable[[FileSystemEvent], None]) -> None:
        self._noticed = noticed

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Any event of the kinds asked for."""
        self._noticed(event)


def _inode(path: str) -> int:
    """The inode at the path, 0 where there is none."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _prefix(name: str) -> str:
    """What the name of every match of a glob, and of every rotated sibling, begins with."""
    literal = name[: next((at for at, char in enumerate(name) if char in "*?["), len(name))]
    return literal if literal != name else os.path.splitext(name)[0]


def _nearest(directory: str) -> str:
    """The directory, or the nearest parent that is there."""
    while not os.path.isdir(directory) and directory != os.path.dirname(directory):
        directory = os.path.dirname(directory)
    return directory
