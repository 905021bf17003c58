"""Every message that must arrive stands here from `put` to its acknowledgement, through kill -9 and power cuts.

Start reading at outbox.py. records.py and journal.py are the files' formats, segments.py the flash, lane.py one queue,
recovery.py what a start finds, state.py what `health` shows.
"""

from camagent.outbox.lane import Entry
from camagent.outbox.outbox import Outbox
from camagent.outbox.records import LANES, Lane, OpenMessage
from camagent.outbox.state import Outcome, OutcomeCallback

__all__ = ["LANES", "Entry", "Lane", "OpenMessage", "Outbox", "Outcome", "OutcomeCallback"]
