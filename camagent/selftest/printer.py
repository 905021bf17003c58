"""Lines on a terminal or in a file: no wider than is read well, no blanks at their ends, nothing the encoding does not have."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments

_WIDEST = 110  # longer lines are hard to read


class Printer:
    """Prints what rich lays out."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ascii = not (console.encoding or "").lower().startswith("utf")
        self._width = min(console.width, _WIDEST)

    def line(self, what: RenderableType = "") -> None:
        """Prints it without the blanks that tables leave at a line's end."""
        options = self._console.options.update(width=self._width, highlight=False, markup=False)
        for segments in self._console.render_lines(what, options, pad=False):
            while segments and not segments[-1].text.strip():
                segments.pop()
            if segments:
                segments[-1] = Segment(segments[-1].text.rstrip(), segments[-1].style)
            self._console.print(Segments([*map(self._written, segments), Segment.line()]), soft_wrap=True, end="")

    def _written(self, segment: Segment) -> Segment:
        """What the terminal's encoding does not have becomes an escape, never an exception."""
        if not self._ascii:
            return segment
        encoding = self._console.encoding or "ascii"
        return Segment(segment.text.encode(encoding, "backslashreplace").decode(encoding), segment.style)
