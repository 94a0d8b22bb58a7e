"""The writer threads: one per database, each the only one that writes to its file.

Guarantees:

- A job's outcome is posted to the event loop only after COMMIT has returned (durable) or after the
  bounded number of attempts has failed. One `call_soon_threadsafe` a commit.
- After a failed commit the file is closed, reopened and verified, and all that it holds is moved
  out of the WAL and synced anew: a failed sync may leave bytes that can be read and are not on
  disk. What then turns out to be stored is reported as stored, never written twice; the rest is
  tried again, then fails with NotStoredError. What could not be found out, is before the next job.
- An idle writer sleeps on its queue; it wakes for work, and for a gap report that falls due.
"""

from __future__ import annotations

import sqlite3
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from buffer.contract import (
    Bounds,
    Clock,
    NotStoredError,
    Record,
    Signer,
    Stream,
    chain_hash,
)
from buffer.database import Database, Head, carry_name
from buffer.heads import HeadSigning
from buffer.jobs import SALVAGED, Renew
from buffer.outcome import Outcome, Post, Receipt, Repairs, Session, Told
from buffer.patient import asked, is_damage
from buffer.policy import EVERYTHING, BufferConfig, Held, Limits, limits, next_look_ns

JobT = TypeVar("JobT")
Heads = dict[Stream, Head]
"""Where each stream of a file stands."""
RENEW_AGAIN_NS = 10**9
"""A new log id that could not be begun is tried again after so long."""


class Writer(Generic[JobT]):
    """A thread, its queue and its database. Subclasses say what a job does."""

    def __init__(
        self,
        database: Database,
        config: BufferConfig,
        clock: Clock,
        session: Session,
        post: Post,
        *,
        signer: Signer | None,
        unsent: Callable[[Stream], int | None],
        repairs: Repairs,
    ) -> None:
        self.database = database
        self._repairs = repairs
        self._suspicion = ""
        self._is_stale = False  # the file is another one, and could not be read yet
        self._unsent = unsent
        self._look_ns: int | None = 0
        database.set_lock_wait(config.lock_wait_ms)
        self.config = config
        self.clock = clock
        self.session = session
        self.post = post
        self.signing = HeadSigning(database, signer, config.sign_every_s * 10**9)
        self.epoch = 0
        self._queue: SimpleQueue[JobT | None] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, name=f"buffer-{database.kind}", daemon=True
        )
        self._broken = False
        self._doubt: tuple[Heads, Callable[[Heads], None]] | None = None
        self._dead = False
        self._unrenewed: Renew | None = None
        self._renew_ns = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, job: JobT) -> None:
        """Queue a job; from any thread."""
        self._queue.put(job)
        if self._dead:
            self._refuse_queued()

    def stop(self) -> None:
        """Finish everything queued, then end the thread and close the file."""
        self._queue.put(None)

    def join(self) -> None:
        """Wait until the thread has ended (call off the loop)."""
        self._thread.join()

    @abstractmethod
    def commit(self, jobs: Sequence[JobT]) -> None:
        """Do the jobs and post their outcome."""

    @abstractmethod
    def receipts_of(self, job: JobT) -> list[Receipt]:
        """Receipts that wait for a job."""

    @abstractmethod
    def next_deadline_ns(self) -> int | None:
        """Monotonic time at which `idle` has something to do; None when only a job does."""

    @abstractmethod
    def idle(self) -> None:
        """Do what fell due."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is still to be written before the file is closed."""

    def _run(self) -> None:
        try:
            while True:
                jobs, last = self._next_jobs()
                self._work(jobs)
                if last:
                    self._finish()
                    return
        finally:
            self._dead = True
            self.database.close()
            self._refuse_queued()

    def _finish(self) -> None:
        try:
            self.finish()
        except (sqlite3.Error, OSError, MemoryError) as failure:
            self._refuse((), _cause(failure))

    def _work(self, jobs: Sequence[JobT]) -> None:
        unsettled = jobs
        try:
            self._settle_doubt()
            if self._unrenewed is not None and self.clock.monotonic_ns() >= self._renew_ns:
                self.renew(self._unrenewed)
            if jobs:
                self.commit(jobs)
            unsettled = ()
            self.idle()
            self._sign_idle()
        except (sqlite3.Error, OSError, MemoryError) as failure:
            # A question between transactions failed: whatever it was about is asked again later.
            self._broken = True
            self._suspect(failure)
            self._refuse(unsettled, _cause(failure))
        except BaseException:
            self._refuse(unsettled, "the writer has stopped")
            raise
        if self._suspicion:
            self.post(Outcome(self.epoch, suspicion=self._suspicion))
            self._suspicion = ""

    def _refuse(self, jobs: Sequence[JobT], error: str) -> None:
        receipts = [receipt for job in jobs for receipt in self.receipts_of(job)]
        outcome = Outcome(self.epoch, failed=receipts, error=error)
        outcome.health = f"{self.database.kind} is not stored: {error}"
        self.keep(error, outcome)
        self.post(outcome)

    def _refuse_queued(self) -> None:
        jobs, _ = self._next_jobs(wait=False)
        if jobs:
            self._refuse(jobs, "the writer has stopped")

    def _next_jobs(self, *, wait: bool = True) -> tuple[list[JobT], bool]:
        jobs: list[JobT] = []
        try:
            job = self._queue.get(block=wait, timeout=self._due_in_s() if wait else None)
            while job is not None:
                jobs.append(job)
                job = self._queue.get_nowait()
        except Empty:
            return jobs, False
        return jobs, True

    def _due_in_s(self) -> float | None:
        again_ns = self._renew_ns if self._unrenewed is not None else None
        deadlines = [self.next_deadline_ns(), self.signing.due_ns(), again_ns]
        due = [at_ns for at_ns in deadlines if at_ns is not None]
        return max(0.0, (min(due) - self.clock.monotonic_ns()) / 1e9) if due else None

    def _sign_idle(self) -> None:
        """Sign what has stood unsigned for its time, because nothing came after it."""
        now_ns = self.clock.monotonic_ns()
        heads = self.signing.due_heads(now_ns)
        if heads and not self.transact(lambda: self.signing.write(heads), lambda _: None):
            self.signing.written(heads, now_ns)
            self.post(self.add_signed(Outcome(self.epoch)))

    def add_signed(self, outcome: Outcome) -> Outcome:
        """Say in an outcome what is signed."""
        outcome.signed = dict(self.signing.newest)
        outcome.unsigned = self.signing.failure
        return outcome

    # ---- limits -------------------------------------------------------------------------------

    def limits(self, stream: Stream) -> Limits:
        """What a stream may keep now."""
        unsent = self._unsent(stream)
        base = self.database.heads[stream].base
        acknowledged_id = EVERYTHING if unsent is None else base + unsent - 1
        return limits(self.config, stream, self.clock.wall_ns(), acknowledged_id)

    def looked(self, oldest: Iterable[tuple[Stream, Held | None]]) -> None:
        """Evictions have been looked for; say when to look again if nothing else happens."""
        now_ns = self.clock.monotonic_ns()
        looks = [next_look_ns(unit, self.limits(stream), now_ns) for stream, unit in oldest]
        self._look_ns = min((at_ns for at_ns in looks if at_ns is not None), default=None)

    @property
    def is_broken(self) -> bool:
        """Tell whether an attempt failed and the file has not been opened anew since."""
        return self._broken

    @property
    def look_ns(self) -> int | None:
        """When to look for evictions if nothing else happens, in monotonic time."""
        return self._look_ns

    # ---- one transaction, with its attempts ---------------------------------------------------

    def transact(
        self, work: Callable[[], None], late: Callable[[Heads], None], *, is_synced: bool = True
    ) -> str:
        """Run `work` in one durable transaction; "" when stored, else why not.

        is_synced: False where it may be lost in a power cut (see Database.begin).

        `late(heads before)` is called before the next job if it turns out that the transaction took
        place although this said it had not: takes it back, or takes it in.
        """
        error = ""
        saved = self.database.saved_heads()
        after: Heads | None = None
        for _ in range(self.config.attempts):
            try:
                if self._broken:
                    self._reopen()
                    if after is not None and after != saved and self.database.heads == after:
                        self._broken, self._doubt = False, None
                        return ""
                    self._check_heads(saved)
                    self._broken = False
                self.database.begin(is_synced=is_synced)
                work()
                after = self.database.saved_heads()
                self.database.commit()
            except (sqlite3.Error, OSError, NotStoredError) as failure:
                error = _cause(failure)
                self._suspect(failure)
                self._broken = True
                self.database.heads = {**saved}
                self.make_room(failure)
                saved = self.database.saved_heads()
            else:
                self._doubt, self._suspicion = None, ""
                return ""
        if after is not None:
            self._doubt = after, late
        return error

    # ---- a new log id -------------------------------------------------------------------------

    def renew(self, job: Renew) -> None:
        """Begin a new log id, in a file that is rebuilt first if need be; tried until it is done.

        Until then outcomes are of the former one, so that the loop moves no bounds by them.
        """
        self._unrenewed, self._renew_ns = job, self.clock.monotonic_ns() + RENEW_AGAIN_NS
        if job.repair == self.database.kind:
            done, error = self.mend(job.damage, self.told(job))
            self._unrenewed = job = replace(job, repair="")
            self.post(Outcome(self.epoch, repaired=done, error=error))
            if done:
                self.hand_over(bytes(self.database.meta(SALVAGED, b"")))
        self.before_renewal()

        def work() -> None:
            self.carry_over(job)

        def renewed(_: Heads) -> None:
            self._unrenewed, self.epoch = None, job.epoch
            self.signing.forget()
            self.post(self.standing(Outcome(self.epoch, health="")))

        error = self.transact(work, renewed)
        if error:
            self.post(Outcome(self.epoch, health=f"log id not renewed: {error}"))
        else:
            renewed({})

    def carried_from(self, job: Renew, stream: Stream) -> int:
        """First row, as it is numbered now, that is carried into the new log."""
        head = self.database.heads[stream]
        carry = int(self.database.meta(carry_name(stream), job.carry_from.get(stream, 1)))
        return max(head.first_id, head.base + carry)

    @abstractmethod
    def told(self, job: Renew) -> Told:
        """What a repair goes by."""

    @abstractmethod
    def hand_over(self, salvaged: bytes) -> None:
        """Have what a repair lost reported."""

    @abstractmethod
    def before_renewal(self) -> None:
        """Do what belongs to the former log id."""

    @abstractmethod
    def carry_over(self, job: Renew) -> None:
        """Renumber, in the running transaction."""

    @abstractmethod
    def standing(self, outcome: Outcome) -> Outcome:
        """Say in an outcome what is held."""

    # ---- a file that may be damaged -----------------------------------------------------------

    def _suspect(self, failure: Exception) -> None:
        if isinstance(failure, NotStoredError) or is_damage(failure):
            self._suspicion = str(failure)

    def verify(self) -> None:
        """Say whether the file is what was written to it; nothing where that cannot be said.

        A full disk is no damage: a repair for it would begin a new log id without need.
        """
        try:
            found = self._repairs.verify(self.database.path, self.database.kind)
        except (sqlite3.Error, OSError) as failure:
            found = ""
            self._suspect(failure)
        self.post(Outcome(self.epoch, verified=found))

    @abstractmethod
    def reload(self) -> None:
        """Take from the file, which is another one now, what is known of it."""

    def rows_held(self) -> dict[Stream, tuple[int, int]]:
        """First and last row of each stream under the present log id, as far as that is known."""
        heads = {} if self._is_stale else self.database.heads
        return {stream: (head.first_id, head.next_id - 1) for stream, head in heads.items()}

    def mend(self, damage: str, told: Told) -> tuple[str, str]:
        """Rebuild the file: the sentence that says so, and what failed, or could not be read."""
        self.database.close()
        done, error = "", ""
        try:
            done = self._repairs.rebuild(self.database.path, self.database.kind, damage, told)
        except (sqlite3.Error, OSError) as failure:
            error = _cause(failure)
        self._broken, self._doubt = True, None
        try:
            asked(self.database.reopen)
            if done:
                asked(self.reload)
        except (sqlite3.Error, OSError) as failure:
            self._is_stale = bool(done)
            return done, error or _cause(failure)
        self._broken = self._is_stale = False
        return done, error

    def _reopen(self) -> None:
        self.database.reopen()
        self.database.move_wal()

    def _settle_doubt(self) -> None:
        """After a failure: see what the file holds before anything is planned upon it."""
        if not self._broken:
            return
        saved = self.database.saved_heads()
        try:
            self._reopen()
            if self._is_stale:
                self.reload()
                self._is_stale = False
            elif self.database.heads != saved:
                if self._doubt is None or self.database.heads != self._doubt[0]:
                    self.database.heads = saved
                    return
                self._doubt[1](saved)
        except (sqlite3.Error, OSError) as failure:
            self.database.heads = saved
            self.make_room(failure)
            return
        self._broken, self._doubt = False, None

    def keep(self, error: str, outcome: Outcome) -> None:
        """Called when jobs are refused before they are tried; a place to keep what is theirs."""

    def make_room(self, failure: Exception) -> None:
        """Called after a failed attempt; a place to give up a reserve."""

    def _check_heads(self, saved: dict[Stream, Head]) -> None:
        if self.database.heads != saved:
            raise NotStoredError(f"{self.database.path.name} is not what was written to it")

    def chain(
        self,
        stream: Stream,
        payload: bytes,
        *,
        group: int = 0,
        catalogue: bytes = b"",
        first_ns: int | None = None,
        last_ns: int | None = None,
        samples: int = 1,
        after: Record | None = None,
    ) -> Record:
        """Next record of a stream: after `after`, or else after the newest one stored."""
        head = self.database.heads[stream]
        if after is None:
            sequence, previous = head.next_id - head.base, head.hash
        else:
            sequence, previous = after.sequence + 1, after.hash
        session, time_ns = self.session, self.clock.wall_ns()
        monotonic_ns = self.clock.monotonic_ns()
        return Record(
            stream=stream,
            sequence=sequence,
            time_ns=time_ns,
            monotonic_ns=monotonic_ns,
            boot_id=session.boot_id,
            clock_offset_ns=session.clock_offset_ns,
            synchronised=session.trusts(time_ns, monotonic_ns),
            previous_hash=previous,
            hash=chain_hash(previous, stream, sequence, payload),
            payload=payload,
            group=group or sequence,
            catalogue=catalogue,
            first_ns=time_ns if first_ns is None else first_ns,
            last_ns=time_ns if last_ns is None else last_ns,
            samples=samples,
        )

    def bounds(self, stream: Stream) -> Bounds:
        """Sequences held, as the file says."""
        head = self.database.heads[stream]
        return Bounds(head.first_id - head.base, head.next_id - head.base)


def _cause(failure: Exception) -> str:
    text = str(failure) or type(failure).__name__
    if isinstance(failure, OSError):
        text = failure.strerror or text
    return "database or disk is full" if "full" in text else text
