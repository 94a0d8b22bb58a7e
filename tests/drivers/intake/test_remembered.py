"""What an intake remembers: the newest of each set, whole digests only, in a fixed room."""

from __future__ import annotations

import hashlib

from hypothesis import example, given
from hypothesis import strategies as st

from drivers.intake.remembered import DIGEST_BYTES, SETS, WAYS, Remembered


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def of_one_set(number: int) -> bytes:
    return (b"\1\2" + number.to_bytes(4, "big")).ljust(DIGEST_BYTES, b"\7")


@given(st.lists(st.integers(0, 2 * WAYS), max_size=6 * WAYS))
@example([*range(WAYS), 0, WAYS, 1])
def test_each_set_keeps_its_newest(numbers: list[int]) -> None:
    remembered, model = Remembered(), list[int]()
    for number in numbers:
        assert (of_one_set(number) in remembered) == (number in model)
        remembered.add(of_one_set(number))
        model = [number, *(known for known in model if known != number)][:WAYS]
    for number in range(2 * WAYS + 1):
        assert (of_one_set(number) in remembered) == (number in model)


@given(st.binary(min_size=2, max_size=2), st.integers(1, DIGEST_BYTES - 1))
def test_two_neighbours_make_no_third(place: bytes, shift: int) -> None:
    """The piece that begins inside one digest and ends in the next is nobody's."""
    remembered = Remembered()
    one = place + bytes(range(100, 114))
    between = (one + one)[shift : shift + DIGEST_BYTES]
    if between[:2] == place:
        return
    remembered.add(one)
    later = place * (DIGEST_BYTES // 2)
    remembered.add(later)
    piece = (later + one)[shift : shift + DIGEST_BYTES]
    assert piece not in remembered or piece in {one, later}
    assert {one in remembered, later in remembered} == {True}


def test_half_of_what_fits_is_known_for_certain() -> None:
    remembered = Remembered()
    last = 2 * SETS * WAYS
    for number in range(last):
        remembered.add(digest(number))
    assert all(digest(number) in remembered for number in range(last - SETS * WAYS // 2, last))
    assert not any(digest(number) in remembered for number in range(1000))


def test_rows_and_documents_count_by_their_first_bytes() -> None:
    remembered = Remembered()
    remembered.add(digest(1))
    assert digest(1)[:DIGEST_BYTES] in remembered
    assert digest(2) not in remembered
