"""One conversation with hawkBit, turn by turn: ask, decide (hawkbit_plan), do (hawkbit_work), tell.

poll -> confirmationBase: confirmed or denied, deploymentBase: ready -> fetching -> trial -> over -> told,
cancelAction: closed or rejected, configData: attributes. What must outlive a restart is saved before it is acted upon.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Literal

from msgspec.structs import replace

from camagent.errors import CodedError, HawkbitBusy, HawkbitDenied, HawkbitStrange, HawkbitUnreachable, printable
from camagent.integrations import hawkbit_plan as plan
from camagent.integrations import hawkbit_read as read
from camagent.integrations import hawkbit_words as words
from camagent.integrations.hawkbit_book import USUAL, Book, Facts, Patience, Surroundings
from camagent.integrations.hawkbit_memory import Doing, Item, Report
from camagent.integrations.hawkbit_server import Server
from camagent.integrations.hawkbit_wire import Gone, Wire
from camagent.integrations.hawkbit_work import Work
from firmware_pkg.addresses import Url
from firmware_pkg.errors import NoSpace, StateError
from firmware_pkg.order import Listener

log = logging.getLogger("camagent")

Word = Literal["confirmed", "denied"]
_NOT_TAKEN = frozenset({400, 413, 415, 422})  # the words of a feedback, or its form


class Session:
    """Belongs to one thread; `facts` may be read by any, `stop` be called by any."""

    def __init__(
        self, server: Server, around: Surroundings, *, confirmation: Word = "confirmed", poll_s: float | None = None,
        listener: Listener | None = None, patience: Patience = USUAL, beat: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Reads what was remembered; asks nothing yet."""
        self._book = Book(around, f"{server.base} {server.controller_id}")
        self._wire = Wire(server, self._book.closed, patience.request)
        self._work = Work(self._book, server, self, patience=patience, listener=listener, beat=beat)
        self._server, self._around, self._patience = server, around, patience
        self._confirmation, self._fixed_poll_s = confirmation, poll_s
        self._monotonic = around.clock.monotonic
        self._etag = ""
        self._offers: read.Offers | None = None
        self._fresh = True  # nothing was heard of the server in this life
        self._stale = True  # what is remembered of an unfinished action was not compared with the server yet
        self._poll_at = self._quiet_until = float("-inf")
        self._failures = 0
        self._soon_wanted = False  # an answer of ours has changed what the server offers
        self._odd: tuple[str, str] | None = None  # code and sentence of what the server does wrong, though it answers
        self._cancels: Counter[str] = Counter()

    @property
    def facts(self) -> Facts:
        """What `health` says."""
        return self._book.facts

    def stop(self) -> None:
        """Cuts what is going on; nothing is written or told any more."""
        self._book.closed.set()
        self._work.halt.set()

    def turn(self) -> float:
        """Does what is due; in how many seconds there is more to do."""
        try:
            self._work.judge()
            if self._monotonic() >= self._quiet_until:
                self._converse()
                self._failures = 0
                self._book.note(*(self._odd or (None, None)))
        except HawkbitUnreachable as exc:
            self._failed(exc)
        except (StateError, NoSpace) as exc:  # the disk: asked again a little later
            self._pause(exc, self._patience.first_s)
        except Exception as exc:  # noqa: BLE001  a defect of ours, logged with its traceback: cameras and other ways in go on
            self._pause(self._around.defect(exc), self._patience.most_s)
        self._book.say()
        return self._until_next()

    # -- a turn -------------------------------------------------------------------------------------------------------

    def _converse(self) -> None:
        if not self._fresh:  # in a new life the server is asked first whether it still wants to hear
            self._deliver()
        if self._monotonic() >= self._poll_at:
            self._poll()
        self._deliver()
        if self._work.is_due():
            if not self._work.step():
                self._poll_at = self._monotonic()
            if not self._book.closed.is_set():
                self._work.judge()
                self._deliver()

    def _poll(self) -> None:
        base = self._server.base
        try:
            reply = self._wire.get(base, self._etag)
        except Gone as exc:
            raise read.strange("there is no such tenant, or no such API", f"status {exc}") from exc
        offers = self._offers if reply.is_same and self._offers else read.offers(reply.body, base)
        self._etag, self._offers = reply.etag or self._etag, offers
        self._fresh, self._odd = False, None
        self._book.heard(self._poll_s(offers))
        self._tell_attributes(offers)
        self._answer(offers)
        self._poll_at = max(self._poll_at, self._monotonic() + self._poll_s(offers))
        if self._soon_wanted:
            self._poll_at, self._soon_wanted = self._monotonic() + self._patience.soon_s, False

    def _answer(self, offers: read.Offers) -> None:
        if offers.cancel is not None:
            self._cancel(offers.cancel)
        elif offers.confirmation is not None:
            self._confirm(offers.confirmation)
        elif offers.deployment is not None:
            self._offered(offers.deployment)
        else:
            self._book.forget("the server does not speak of it any more")

    def _tell_attributes(self, offers: read.Offers) -> None:
        if offers.config_data is None:
            return
        try:
            self._wire.put(offers.config_data, words.attributes_body(self._around.attributes()))
        except Gone:
            log.info("hawkBit: the server does not want attributes any more")

    def _poll_s(self, offers: read.Offers) -> float:
        return max(self._patience.least_poll_s, offers.poll_s if self._fixed_poll_s is None else self._fixed_poll_s)

    # -- what the server offers ---------------------------------------------------------------------------------------

    def _offered(self, link: Url) -> None:
        doing, action = self._book.doing, read.id_in(link)
        stale, self._stale = self._stale, False
        if doing is None or doing.action != action:
            found = self._deployment(link)
            if found is not None:
                log.info("hawkBit: action %s", printable(action, 64))
                self._book.set(self._begun(found))
        elif doing.phase == "over":
            self._again(doing)
        elif doing.phase == "waiting" or (stale and doing.phase != "trial"):
            self._once_more(doing, link, stale=stale)

    def _again(self, doing: Doing) -> None:
        """The server goes on to offer what is over here: it hears the same, and nothing is done."""
        if doing.owed is None and doing.told < self._patience.again:
            self._book.set(replace(doing, owed=doing.final))
        elif doing.owed is None:
            what = f"the server goes on to offer action {doing.action}, whose end it has taken {doing.told} times"
            self._odd = (HawkbitStrange.code, what)

    def _once_more(self, doing: Doing, link: Url, *, stale: bool) -> None:
        """It waits for its window; or a life before this one has begun it, and links and circumstances may be others now."""
        found = self._deployment(link)
        if found is None:
            return
        made = self._begun(found) if stale else plan.waited(doing, found)
        if doing.phase == "fetching" and made.phase == "ready":
            made = replace(made, owed=words.told(f"begins anew after an interruption, attempt {doing.tries + 1}"))
        self._book.set(replace(made, tries=doing.tries))

    def _begun(self, found: read.Deployment) -> Doing:
        around = self._around
        return plan.begin(found, self._book.memory, slots_of=around.slots_of, circumstances=around.circumstances())

    def _deployment(self, link: Url) -> read.Deployment | None:
        """With its whole history: what was told in a life that is forgotten. None where it is gone meanwhile."""
        try:
            return read.deployment(self._wire.get(read.with_history(link)).body, link)
        except Gone:
            self._book.forget("it is gone")
            return None

    def _confirm(self, link: Url) -> None:
        word = self._confirmation
        key = f"{read.id_in(link)} {word}"
        if self._book.memory.answered == key:
            return  # a denied action stays open by design; the answer was given
        said = "confirmed by this device's configuration" if word == "confirmed" else "denied: fleet.hawkbit.confirmation"
        try:
            self._wire.post(read.feedback_of(link), words.confirmation_body(word, said))
        except Gone:
            return
        self._book.save(replace(self._book.memory, answered=key))
        self._soon_wanted = word == "confirmed"

    def _cancel(self, link: Url) -> None:
        cancel_id = read.id_in(link)
        if self._cancels[cancel_id] >= self._patience.again:
            return
        doing = self._book.doing
        try:
            wanted = read.stop_id(self._wire.get(link).body)
            ours = doing if doing is not None and doing.action == wanted else None
            has_begun = ours is not None and any(item.state != "pending" for item in ours.items)
            no = Report(execution="rejected", finished="none", details=("a bundle of it is installed already",))
            report = no if has_begun else words.done("nothing of it is installed here")
            self._wire.post(read.feedback_of(link), words.body(report, self._around.clock.wall()))
        except Gone:
            return
        self._cancels = Counter({cancel_id: self._cancels[cancel_id] + 1})  # of the newest alone: ids are the server's
        if ours is not None and not has_begun:
            self._book.forget("it was cancelled")
        self._soon_wanted = True

    # -- what is told -------------------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        doing = self._book.doing
        if doing is None or doing.owed is None:
            return
        report = doing.owed
        try:
            self._feedback(doing.action, report)
        except Gone:
            self._book.forget("the server has closed it")
            return
        except HawkbitStrange as exc:
            if exc.status not in _NOT_TAKEN:
                raise
            self._book.count(exc)
            if report.details:  # it may be the words that are not liked: the code alone is better than nothing
                self._book.set(replace(doing, owed=words.bare(report)))
                raise
        self._book.set(replace(doing, owed=None, told=doing.told + report.is_final))
        if report.is_final:
            log.info("hawkBit: action %s is over: %s", doing.action, report.finished)
            self._poll_at = min(self._poll_at, self._monotonic() + self._patience.soon_s)

    def _feedback(self, action: str, report: Report) -> None:
        link, base = self._offers.deployment if self._offers else None, self._server.base
        if link is None or read.id_in(link) != action:
            link = Url(base.scheme, base.host, base.port, (*base.segments, "deploymentBase", action), "")
        self._wire.post(read.feedback_of(link), words.body(report, self._around.clock.wall()))

    def progressed(self, doing: Doing, item: Item, done: int) -> None:
        """See hawkbit_work.Asking."""
        self._feedback(doing.action, words.told(f"downloading: {100 * done // item.size} % of {item.size} bytes"))

    def is_cancelled(self, action: str) -> bool:
        """See hawkbit_work.Asking."""
        offers = read.offers(self._wire.get(self._server.base).body, self._server.base)
        return offers.cancel is not None and read.stop_id(self._wire.get(offers.cancel).body) == action

    # -- trouble and time ---------------------------------------------------------------------------------------------

    def _failed(self, exc: HawkbitUnreachable) -> None:
        patience, is_denied = self._patience, isinstance(exc, HawkbitDenied)
        first_s, most_s = (patience.denied_s, patience.denied_most_s) if is_denied else (patience.first_s, patience.most_s)
        wait_s = min(first_s * 2 ** min(self._failures, 20), most_s)
        if isinstance(exc, HawkbitBusy) and exc.after_s is not None:
            wait_s = exc.after_s + min(first_s, 1.0)
        self._failures += 1
        self._pause(exc, wait_s)

    def _pause(self, exc: CodedError, wait_s: float) -> None:
        if self._book.closed.is_set():
            return  # the stop itself looks like a broken connection
        self._book.count(exc)
        self._quiet_until = self._monotonic() + wait_s
        self._book.note(exc.code, printable(exc.what, 400))

    def _until_next(self) -> float:
        """Seconds until a turn has something to do."""
        now, doing = self._monotonic(), self._book.doing
        due = self._poll_at
        if doing is not None and doing.owed is not None:
            due = now
        elif doing is not None and doing.phase == "ready":
            due = min(due, self._work.next_at)
        due = max(due, self._quiet_until)
        if doing is not None and doing.phase == "trial":
            due = min(due, now + self._patience.trial_s)
        return max(due - now, 0.0)
