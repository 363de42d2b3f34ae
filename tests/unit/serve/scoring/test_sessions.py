"""Sessions and keys are found by their own client alone."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.ciphertext import EvaluationKeys
from wardline.he.parameters import Parameters, find_primes
from wardline.serve.scoring.admission import ServiceLimits
from wardline.serve.scoring.refusals import Reason, Refusal
from wardline.serve.scoring.sessions import SessionTable

PARAMETERS = Parameters(scheme="bfv", degree=1024, moduli=find_primes(1024, (25,)), plain_modulus=256)
KEYS = EvaluationKeys(parameters=PARAMETERS, public=np.zeros((2, 1, 1024), dtype=np.uint32))


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def refused(table: SessionTable, client: str, name: bytes) -> Reason:
    with pytest.raises(Refusal) as caught:
        table.find(client, name)
    return caught.value.reason


def test_a_session_is_its_clients() -> None:
    clock = Clock()
    table = SessionTable(ServiceLimits(session_seconds=10, sessions_per_client=2, sessions=3), now=clock)
    first = table.open("alice", keys=b"k")
    assert table.find("alice", first.session.id) is first
    with pytest.raises(Refusal) as foreign:
        table.find("bob", first.session.id)
    with pytest.raises(Refusal) as unknown:
        table.find("bob", bytes(16))
    assert str(foreign.value) == str(unknown.value), "nobody is told which it was"
    second, third = table.open("alice", keys=b"k"), table.open("alice", keys=b"k")
    assert refused(table, "alice", first.session.id) is Reason.SESSION, "the oldest made room"
    table.open("bob", keys=b"k")
    with pytest.raises(Refusal) as full:
        table.open("carol", keys=b"k")
    assert full.value.reason is Reason.BUSY
    clock.seconds = 10
    for one in (second, third):
        assert refused(table, "alice", one.session.id) is Reason.SESSION, "it is over"
    table.open("carol", keys=b"k")
    assert len({first.session.id, second.session.id, third.session.id}) == 3


def test_keys_are_their_clients() -> None:
    table = SessionTable(ServiceLimits(keys_per_client=2, sessions=3))
    alice, bob = table.open("alice", keys=b"1"), table.open("bob", keys=b"1")
    table.keep("alice", b"1", KEYS)
    assert table.keys(alice) is KEYS
    assert table.knows("alice", b"1")
    assert not table.knows("bob", b"1")
    with pytest.raises(Refusal) as caught:
        table.keys(bob)
    assert caught.value.reason is Reason.KEYS
    table.keep("alice", b"2", KEYS)
    table.keys(alice)
    table.keep("alice", b"3", KEYS)
    assert [table.knows("alice", digest) for digest in (b"1", b"2", b"3")] == [True, False, True]
    table.keep("bob", b"1", KEYS)
    table.keep("carol", b"1", KEYS)
    assert not table.knows("alice", b"1"), "of all clients, the one used longest ago makes room"


def test_keys_used_longest_ago_make_room_where_memory_is_short() -> None:
    table = SessionTable(ServiceLimits(), keys=2)
    for client in ("alice", "bob"):
        table.keep(client, b"k", KEYS)
    table.keys(table.open("alice", keys=b"k"))
    table.keep("carol", b"k", KEYS)
    assert [table.knows(client, b"k") for client in ("alice", "bob", "carol")] == [True, False, True]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_nothing_makes_room_before_there_are_too_many(most: int) -> None:
    table = SessionTable(ServiceLimits(sessions_per_client=most, keys_per_client=most))
    digests = [bytes([one]) for one in range(most)]
    opened = [table.open("alice", keys=digest) for digest in digests]
    for digest in digests:
        table.keep("alice", digest, KEYS)
    assert all(table.find("alice", one.session.id) is one for one in opened)
    assert all(table.knows("alice", digest) for digest in digests)
    table.open("alice", keys=b"more")
    table.keep("alice", b"more", KEYS)
    assert refused(table, "alice", opened[0].session.id) is Reason.SESSION
    assert all(table.find("alice", one.session.id) is one for one in opened[1:])
    assert [table.knows("alice", digest) for digest in digests] == [False] + [True] * (most - 1)
