"""Freshness tokens: they come back as they went out, and nothing else passes for one."""

import struct
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.freshness import LAST_POSITION, freshness_token, position_of
from service.errors import InvalidArgument, Reason

positions = st.integers(0, LAST_POSITION)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def refusal(token: str) -> str:
    with pytest.raises(InvalidArgument) as raised:
        position_of(token)
    assert (raised.value.reason, raised.value.field) == (Reason.INVALID_FRESHNESS_TOKEN, "freshness_token")
    return raised.value.message


@given(position=positions)
def test_a_position_comes_back_exactly(position: int) -> None:
    assert position_of(freshness_token(position)) == position


@given(position=positions)
def test_a_token_can_stand_in_a_url_or_a_header(position: int) -> None:
    assert set(freshness_token(position)) <= set(LETTERS)


@given(position=positions, place=st.integers(0, 15), letter=st.sampled_from(LETTERS))
def test_a_token_with_another_letter_is_none(position: int, place: int, letter: str) -> None:
    token = freshness_token(position)
    mistyped = token[:place] + letter + token[place + 1 :]
    if mistyped != token:
        refusal(mistyped)


@pytest.mark.parametrize("token", ["", "0/16B3748", "x", "A" * 16, "A" * 4000, "\0", "é", "AQAAAAAAAAAAAAAA"])
def test_what_no_write_answered_is_refused(token: str) -> None:
    refusal(token)


@given(position=positions, cut=st.integers(1, 15))
def test_a_token_cut_short_or_prolonged_is_none(position: int, cut: int) -> None:
    token = freshness_token(position)
    refusal(token[:-cut])
    refusal(token + token[:cut])
    refusal(f" {token}")
    refusal(f"{token}\n")


def test_a_token_of_a_later_version_says_so() -> None:
    later = urlsafe_b64encode(struct.pack(">BQ3s", 2, 1, b"abc")).decode()

    assert "version" in refusal(later)
