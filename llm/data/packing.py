"""Best-fit packing: several short examples in one row, none cut (Ding et al., 2024, "Fewer Truncations Improve Language Modeling").

Best-fit decreasing: the longest first, each into the row that it leaves the least room in. Pure functions of the lengths.
"""

from collections.abc import Sequence


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of at most `capacity` tokens, each a list of examples by number; a row's examples stand in their own order.

    Of equal lengths the first comes first, so that the same lengths give the same rows. Raises ValueError for an example that is
    longer than a row: it would have to be cut.
    """
    if too_long := [length for length in lengths if length > capacity]:
        raise ValueError(f"an example of {max(too_long)} tokens does not fit into a row of {capacity}")
    rows: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # rows by the room that is left in them
    rooms = 0  # bit r: there is a row with room for r tokens. Its lowest bit from `length` on is the best fit, without a search
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        length = lengths[number]
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms &= ~(1 << room)
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(number)
        with_room.setdefault(room - length, []).append(row)
        rooms |= 1 << (room - length)
    return [sorted(row) for row in rows]


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """The same, in as few rows, but in the narrowest that do: what is left of the last row is spread over all, and not computed."""
    rows = best_fit(lengths, capacity)
    narrow, wide = max(max(lengths, default=0), -(-sum(lengths) // max(1, len(rows)))), capacity
    while narrow < wide:
        middle = (narrow + wide) // 2
        if len(found := best_fit(lengths, middle)) <= len(rows):
            rows, wide = found, middle
        else:
            narrow = middle + 1
    return rows
