"""The decision table: one test a row, and the two comparisons that feed it."""

from __future__ import annotations

import pytest

from logproc.tailing.block import Cursor
from logproc.tailing.identity import Seen, Verdict, decide, digest, head_is, tail_is

KNOWN = Cursor(
    key=1,
    path="/logs/access.jsonl",
    device=1,
    inode=7,
    offset=5000,
    size=6000,
    head=digest(b"h" * 1024),
    head_len=1024,
    tail=digest(b"t" * 4096),
)


def seen(
    *, inode: bool, head: bool, size: int = 6000, tail: bool = True, packed: bool = False, gone: bool = False
) -> Seen:
    return Seen(same_inode=inode, same_head=head, size=size, same_tail=tail, packed=packed, gone=gone)


def test_the_same_inode_with_the_same_content_is_read_on() -> None:
    assert decide(KNOWN, seen(inode=True, head=True)) is Verdict.GO_ON


def test_the_same_inode_with_exactly_what_was_read_is_read_on() -> None:
    assert decide(KNOWN, seen(inode=True, head=True, size=5000)) is Verdict.GO_ON


@pytest.mark.parametrize("head", [True, False])
def test_the_same_inode_that_is_shorter_than_what_was_read_is_truncated(head: bool) -> None:
    assert decide(KNOWN, seen(inode=True, head=head, size=4999)) is Verdict.TRUNCATED


def test_the_same_inode_with_other_bytes_before_the_offset_is_rewritten() -> None:
    assert decide(KNOWN, seen(inode=True, head=True, tail=False)) is Verdict.REWRITTEN


def test_another_head_while_our_descriptor_is_open_is_a_truncation() -> None:
    assert decide(KNOWN, Seen(same_inode=True, same_head=False, size=6000, held=True)) is Verdict.TRUNCATED


def test_another_head_after_a_restart_is_a_reused_inode() -> None:
    assert decide(KNOWN, Seen(same_inode=True, same_head=False, size=6000, held=False)) is Verdict.REUSED


def test_the_content_in_another_inode_is_a_move_when_the_old_file_is_gone() -> None:
    assert decide(KNOWN, seen(inode=False, head=True, gone=True)) is Verdict.MOVED


def test_the_content_in_another_inode_is_a_copy_while_the_old_file_is_there() -> None:
    assert decide(KNOWN, seen(inode=False, head=True)) is Verdict.COPY


def test_the_content_in_a_packed_file_is_a_compressed_rotation() -> None:
    assert decide(KNOWN, seen(inode=False, head=True, packed=True, gone=True)) is Verdict.UNPACKED


@pytest.mark.parametrize("gone", [True, False])
def test_less_of_the_content_in_another_inode_is_a_part_of_it(gone: bool) -> None:
    assert decide(KNOWN, seen(inode=False, head=True, size=4999, gone=gone)) is Verdict.PART


def test_the_same_beginning_with_other_bytes_before_the_offset_is_another_file() -> None:
    assert decide(KNOWN, seen(inode=False, head=True, tail=False, gone=True)) is Verdict.NEW


@pytest.mark.parametrize("size", [10, 6000])
def test_another_beginning_in_another_inode_is_another_file(size: int) -> None:
    assert decide(KNOWN, seen(inode=False, head=False, size=size, gone=True)) is Verdict.NEW


def test_an_empty_file_proves_nothing_about_another_inode() -> None:
    empty = Cursor(key=1, path="/logs/access.jsonl", device=1, inode=7, offset=0, size=0)
    assert decide(empty, seen(inode=False, head=True, size=100, gone=True)) is Verdict.NEW


def test_the_head_is_compared_as_far_as_it_was_known() -> None:
    known = Cursor(key=1, path="p", device=1, inode=1, offset=0, size=3, head=digest(b"abc"), head_len=3)
    assert head_is(known, b"abcdef")
    assert not head_is(known, b"ab")
    assert not head_is(known, b"abX")


def test_the_tail_is_what_was_read_last() -> None:
    assert tail_is(KNOWN, b"t" * 4096)
    assert not tail_is(KNOWN, b"t" * 4095 + b"T")
    assert tail_is(Cursor(key=1, path="p", device=1, inode=1, offset=0, size=3), b"")
