"""Folders and answers: what was written comes back, and a thousand files that were changed are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from wardline.core.errors import DataError, IntegrityError
from wardline.he.queries.answers import read_answer, write_answer
from wardline.he.queries.choice import plan_table
from wardline.he.queries.circuit import plan_query
from wardline.he.queries.derivation import derive_schema
from wardline.he.queries.evaluation import replies
from wardline.he.queries.folder import (
    KEYS_FILE,
    TABLE_FILE,
    Description,
    column_file,
    read_description,
    read_encrypted_table,
    write_table,
)
from wardline.he.queries.rows import decrypt_result, encrypt_table


@pytest.fixture
def small(owner):
    """A table of one block without products, so that a thousand of its files are read in seconds."""
    return owner(300, filters=0, drop=("debt", "age", "insured"))


def changed(content: bytes, generator: np.random.Generator) -> bytes:
    """A file that differs: in a byte, in its length, or in a piece that stands elsewhere."""
    at = int(generator.integers(len(content)))
    match int(generator.integers(5)):
        case 0:
            return content[:at]
        case 1:
            return content + content[at : at + 5] + b"\0"
        case 2:
            return content[:at] + content[at + 1 :]
        case 3:
            # Twice the place: near the beginning, where lengths and names stand, and anywhere.
            at = int(generator.integers(min(len(content), 400)))
        case _:
            pass
    return content[:at] + bytes([content[at] ^ int(generator.integers(1, 256))]) + content[at + 1 :]


def test_a_thousand_changed_files_are_refused(small, asking, tmp_path: Path) -> None:
    ask, _, _ = asking
    query = ask("count", None, "sex = F")
    circuit = plan_query(small.plan, query)
    folder = tmp_path / "table"
    shutil.copytree(small.folder, folder)
    table = read_encrypted_table(folder)
    answer = tmp_path / "answer"
    write_answer(answer, table.description, query, replies(table, table.keys, plan=small.plan, circuit=circuit))
    generator = np.random.default_rng(0)

    def use_table() -> None:
        read_encrypted_table(folder).columns(0, range(len(small.plan.stored)))

    def use_answer() -> None:
        read_answer(answer, table.description)

    uses = [
        (folder / TABLE_FILE, use_table),
        (folder / KEYS_FILE, use_table),
        (folder / column_file(1), use_table),
        (answer, use_answer),
    ]
    for path, use in uses:
        use()
        whole = path.read_bytes()
        for _ in range(250):
            path.write_bytes(changed(whole, generator))
            with pytest.raises(IntegrityError) as caught:
                use()
            assert str(caught.value)
        path.write_bytes(whole)
        use()


def test_files_that_change_places_are_refused(owner, tmp_path: Path) -> None:
    mine = owner()
    folder = tmp_path / "table"
    shutil.copytree(mine.folder, folder)
    one, other = folder / column_file(0), folder / column_file(1)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    table = read_encrypted_table(folder)
    with pytest.raises(IntegrityError, match="not the one"):
        table.columns(0, [0])
    # Blocks of one file, with their digests left where they are.
    record = mine.plan.bytes_per_block - 32
    head = len(content) - 2 * record
    one.write_bytes(content[:head] + content[head + record :] + content[head : head + record])
    with pytest.raises(IntegrityError, match="block 0"):
        table.columns(0, [0])
    one.write_bytes(content)
    assert (table.columns(1, [0]).c0 == mine.table.columns(1, [0]).c0).all()
    one.write_bytes(content[:head] + content[head + record :] + content[head : head + record])
    with pytest.raises(IntegrityError, match="block 1"):
        table.columns(1, [0])
    one.unlink()
    with pytest.raises(DataError, match="cannot read"):
        table.columns(0, [0])
    one.symlink_to(other)
    with pytest.raises(DataError, match="cannot read"):
        table.columns(0, [0])
    one.unlink()
    one.mkdir()
    with pytest.raises(IntegrityError, match="regular"):
        table.columns(0, [0])


def test_a_description_is_known_by_its_digest(small) -> None:
    description = read_description(small.folder)
    assert Description.from_bytes(description.to_bytes()).digest == description.digest
    assert read_description(small.folder / TABLE_FILE).digest == description.digest
    for other in (b"", b"{}", b"[]", b'{"check":1}', description.to_bytes() + b"\n"):
        with pytest.raises(IntegrityError):
            Description.from_bytes(other)
    with pytest.raises(DataError):
        read_description(small.folder / "nothing")


def test_a_table_is_not_written_twice_or_in_part(small, tmp_path: Path) -> None:
    keys = small.lattice.evaluation_keys()
    with pytest.raises(DataError, match="stands there"):
        write_table(small.folder, small.plan, key=small.lattice.key.id, keys=keys, columns=[])
    columns = list(encrypt_table(small.lattice, small.plan, small.columns))
    with pytest.raises(ValueError, match="files"):
        write_table(tmp_path / "t", small.plan, key=small.lattice.key.id, keys=keys, columns=columns[:-1])
    assert not (tmp_path / "t" / TABLE_FILE).exists()


def test_answers_belong_to_their_table_and_query(small, owner, asking, tmp_path: Path) -> None:
    ask, wanted, _ = asking
    query = ask("histogram", "state")
    circuit = plan_query(small.plan, query)
    found = replies(small.table, small.table.keys, plan=small.plan, circuit=circuit)
    path = tmp_path / "answer"
    request = write_answer(path, small.table.description, query, found)
    answer = read_answer(path, small.table.description)
    assert (answer.circuit, answer.request) == (circuit, request)
    result = decrypt_result(small.lattice, small.plan, answer.circuit, answer.replies)
    counts = wanted(small.columns, query)
    assert result.histogram == {name: counts["None" if name == "(missing)" else name] for name in result.histogram}
    with pytest.raises(IntegrityError, match="another table"):
        read_answer(path, owner().table.description)
    # The same bytes under another question of the same length.
    path.write_bytes(path.read_bytes().replace(b'"column":"state"', b'"column":"sex"  '))
    with pytest.raises(IntegrityError):
        read_answer(path, small.table.description)
    other = ask("count", None, "sex = F")
    write_answer(path, small.table.description, other, found[:1])
    whole = path.read_bytes()
    assert b'"values":["F"]' in whole
    path.write_bytes(whole.replace(b'"values":["F"]', b'"values":["M"]'))
    with pytest.raises(IntegrityError, match="another request"):
        read_answer(path, small.table.description)
    write_answer(path, small.table.description, other, found)
    with pytest.raises(IntegrityError, match="other ciphertexts"):
        read_answer(path, small.table.description)


def test_values_that_do_not_fit_the_schema_are_named_by_row_alone(asking) -> None:
    pytest.importorskip("tenseal")
    from wardline.he.seal.bridge import SealLattice

    _, _, people = asking
    columns = people(300)
    plan = plan_table(derive_schema(columns)[0], 300, filters=0)
    lattice = SealLattice.generate(plan.parameters)

    def refused(**change: np.ndarray) -> DataError:
        with pytest.raises(DataError) as caught:
            encrypt_table(lattice, plan, {**columns, **change})
        assert caught.value.hint
        return caught.value

    def with_value(name: str, value: object) -> np.ndarray:
        values = columns[name].astype(object)
        values[17] = value
        return values

    for name, value, message in [
        ("sex", "secret-value", "row 18 is in no category"),
        ("sex", None, "missing in row 18"),
        ("age", 12345, "row 18 is out of the bounds"),
        ("age", 40.5, "row 18 is no multiple of 1"),
        ("age", float("inf"), "row 18 is out of the bounds"),
        ("age", 1e300, "row 18 is out of the bounds"),
        ("sex", ["secret-value"], "neither texts nor numbers"),
        ("age", "secret-value", "something else than numbers"),
        ("age", None, "missing in row 18"),
    ]:
        error = refused(**{name: with_value(name, value)})
        assert message in str(error)
        assert name in str(error)
        assert "secret-value" not in str(error) + error.hint
        assert "12345" not in str(error) + error.hint
    days = np.array(["2020-01-01"] * 300, dtype="datetime64[D]")
    assert "neither texts nor numbers" in str(refused(sex=days))
    assert "300 rows" in str(refused(age=columns["age"][:-1]))
    with pytest.raises(DataError, match="lacks the column"):
        encrypt_table(lattice, plan, {})
    other = plan_table(derive_schema(columns)[0], 300, filters=1)
    with pytest.raises(ValueError, match="other parameters"):
        encrypt_table(lattice, other, columns)
