"""Numbers of pictures and annotations."""

from __future__ import annotations

from locara_label.errors import BadDataset


class Numbering:
    """Ids that rise, so that none occurs twice without a record of all of them."""

    def __init__(self) -> None:
        self.last = 0

    def take(self, given: int | None) -> int:
        """The given id, or the next one when there is none.

        Raises:
            BadDataset: `image.id_order`, an id that is not above the one before.
        """
        number = self.last + 1 if given is None else given
        if number <= self.last:
            raise BadDataset(f"image id {number} comes after {self.last}; ids must rise", code="image.id_order")
        self.last = number
        return number


class Seen:
    """Remembers ids; those that come as 1, 2, 3 ... cost no memory."""

    def __init__(self) -> None:
        self._next = 1
        self._others: set[int] = set()

    def add(self, number: int) -> bool:
        """Whether the id is new."""
        if number == self._next and number not in self._others:
            self._next += 1
            return True
        if 0 < number < self._next or number in self._others:
            return False
        self._others.add(number)
        return True
