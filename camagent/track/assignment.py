"""Who is who, all at once: of all ways to pair two sets the one with the greatest sum of weights.

Ours and not a library's: docs/decisions/012-tracker.md says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush

Edges = Mapping[int, float]  # column -> weight, above 0: what pairing with it is worth


def assign(rows: Sequence[Edges], columns: int) -> list[int | None]:
    """Per row its column, None where it stays alone; no column twice. Weights are above 0, a pair that is not there cannot be.

    Successive shortest augmenting paths with potentials (Jonker and Volgenant, Computing 38, 1987; Tomizawa, Networks 1, 1971),
    over the pairs that are possible only: of 100 objects in a crowd each has a handful of neighbours.
    """
    wanted = [0] * columns
    for edges in rows:
        for column in edges:
            wanted[column] += 1
    chosen: list[int | None] = [None] * len(rows)
    rivals = []
    for row, edges in enumerate(rows):
        if len(edges) == 1 and wanted[only := next(iter(edges))] == 1:  # who stands apart is nobody's rival: most of a picture
            chosen[row] = only
        elif edges:
            rivals.append(row)
    if rivals:
        matching = _Matching([rows[row] for row in rivals], columns)
        for place in range(len(rivals)):
            matching.extend(place)
        for row, column in zip(rivals, matching.column_of, strict=True):
            chosen[row] = column if column < columns else None
    return chosen


class _Matching:
    """The best pairing of the rows so far. Staying alone is a column of the row's own; a weight is a cost below 0."""

    def __init__(self, rows: Sequence[Edges], columns: int) -> None:
        self._costs = [
            [*((column, -weight) for column, weight in edges.items()), (columns + row, 0.0)] for row, edges in enumerate(rows)
        ]
        self._row_of: list[int | None] = [None] * (columns + len(rows))
        self._row_price = [min(cost for _, cost in costs) for costs in self._costs]
        self._column_price = [0.0] * (columns + len(rows))
        self.column_of = [columns + row for row in range(len(rows))]

    def extend(self, start: int) -> None:
        """Adds a row: along the shortest path to a free column, those on the way move on by one (Dijkstra, 1959)."""
        reached: dict[int, float] = {}
        came_from: dict[int, int] = {}
        settled: dict[int, None] = {}  # a column is settled once: rounding must not bring it back and close a circle
        waiting: list[tuple[float, int]] = []
        row, length = start, 0.0
        while True:
            for column, cost in self._costs[row]:
                if column in settled:
                    continue
                distance = length + cost - self._row_price[row] - self._column_price[column]
                if distance < reached.get(column, float("inf")):
                    reached[column], came_from[column] = distance, row
                    heappush(waiting, (distance, column))
            length, column = heappop(waiting)
            while column in settled or length > reached[column]:  # an older, longer way to it
                length, column = heappop(waiting)
            owner = self._row_of[column]
            if owner is None:
                break
            settled[column] = None
            row = owner
        self._reprice(start, settled, reached, length)
        self._move_on(start, column, came_from)

    def _reprice(self, start: int, settled: Iterable[int], reached: Mapping[int, float], length: float) -> None:
        """Keeps every pair's reduced cost at 0 or above, and that of what is paired at 0."""
        self._row_price[start] += length
        for column in settled:
            shorter = length - reached[column]
            owner = self._row_of[column]
            assert owner is not None
            self._column_price[column] -= shorter
            self._row_price[owner] += shorter

    def _move_on(self, start: int, column: int, came_from: Mapping[int, int]) -> None:
        while True:
            row = came_from[column]
            self._row_of[column] = row
            self.column_of[row], column = column, self.column_of[row]
            if row == start:
                return
