"""Encrypted queries on the adult table, beside SEAL's own evaluator on the same sums and products.

    OMP_NUM_THREADS=1 python benchmarks/he_queries.py [DATA]

The peer is SEAL 4 through `tenseal.sealapi`, with its own ciphertexts of the same parameters in memory: sums of
indicators, products, relinearised where they must be, products with the value added up before they are relinearised.
The project's time has in it what a query does beyond: reading files, comparing digests, drawing out seeds. All times
are of the processor, for one thread, the best of a few runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tenseal import sealapi

from wardline.he.queries.choice import plan_table
from wardline.he.queries.circuit import Circuit, Factor, plan_query
from wardline.he.queries.derivation import derive_schema
from wardline.he.queries.evaluation import replies
from wardline.he.queries.folder import read_encrypted_table, write_table
from wardline.he.queries.language import Query, parse_where
from wardline.he.queries.pace import Pace
from wardline.he.queries.plan import TablePlan
from wardline.he.queries.rows import _numbers, decrypt_result, encode_column, encrypt_table, simulate
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.keys import unsafe_secret

REPEATS = 5
WHERE = "sex = Female and age >= 32"
QUERIES = {
    "count, 1 column": Query(kind="count", where=parse_where("education in (Bachelors, Masters, Doctorate)")),
    "count, 2 columns": Query(kind="count", where=parse_where(WHERE)),
    "count, 4 columns": Query(
        kind="count", where=parse_where(f"{WHERE} and income = '>50K' and education in (Bachelors, Masters)")
    ),
    "sum, 2 columns": Query(kind="sum", column="hours_per_week", where=parse_where(WHERE)),
    "mean, 2 columns": Query(kind="mean", column="capital_gain", where=parse_where(WHERE)),
    "histogram of 16, 2 columns": Query(kind="histogram", column="education", where=parse_where(WHERE)),
    "histogram of 42, no filter": Query(kind="histogram", column="native_country"),
}


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Of the processor, for the least disturbed of a few runs."""
    work()
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def made(operation: Callable[..., None], *operands: object) -> object:
    """What an operation of SEAL gives."""
    out = sealapi.Ciphertext()
    operation(*operands, out)
    return out


class Peer:
    """SEAL with its own ciphertexts of the columns that one query names."""

    def __init__(self, plan: TablePlan, lattice: SealLattice, columns: dict[str, np.ndarray], circuit: Circuit) -> None:
        context = lattice.key.context
        self.plan, self.circuit, secret = plan, circuit, unsafe_secret(lattice.key)
        self.evaluator = sealapi.Evaluator(context.handle)
        self.decryptor = sealapi.Decryptor(context.handle, secret)
        self.encoder = sealapi.BatchEncoder(context.handle)
        self.keys = sealapi.RelinKeys()
        sealapi.KeyGenerator(context.handle, secret).create_relin_keys(self.keys)
        public = sealapi.PublicKey()
        sealapi.KeyGenerator(context.handle, secret).create_public_key(public)
        encryptor = sealapi.Encryptor(context.handle, public)
        degree = plan.parameters.degree
        padded = np.zeros(plan.blocks * degree, dtype=np.int64)
        self.ciphertexts: dict[tuple[int, int], object] = {}
        self.rows = []
        for place in circuit.used:
            stored = plan.stored[place]
            column = plan.schema.columns[stored.column]
            padded[: plan.rows] = _numbers(plan, stored, encode_column(column, columns[column.name]))
            for block, values in enumerate(padded.reshape(plan.blocks, degree)):
                plain, cipher = sealapi.Plaintext(), sealapi.Ciphertext()
                self.encoder.encode((values % plan.parameters.plain_modulus).tolist(), plain)
                encryptor.encrypt(plain, cipher)
                self.ciphertexts[place, block] = cipher
        for block in range(plan.blocks):
            there = np.arange(block * degree, (block + 1) * degree) < plan.rows
            plain = sealapi.Plaintext()
            self.encoder.encode(there.astype(np.int64).tolist(), plain)
            self.rows.append(plain)

    def factor(self, factor: Factor, block: int) -> object:
        """A sum of ciphertexts of one block."""
        (first, sign), *rest = factor.terms
        found = self.ciphertexts[first, block]
        if sign < 0:
            found = made(self.evaluator.negate, found)
        for place, one in rest:
            found = made(self.evaluator.add if one > 0 else self.evaluator.sub, found, self.ciphertexts[place, block])
        return made(self.evaluator.add_plain, found, self.rows[block]) if factor.constant else found

    def answer(self) -> list[object]:
        """The ciphertexts of the answer."""
        sums: list[object | None] = [None] * len(self.circuit.outputs)
        for block in range(self.plan.blocks):
            factors = [self.factor(one, block) for one in self.circuit.filters]
            while len(factors) > 1:
                products = []
                for one, other in zip(factors[0::2], factors[1::2], strict=False):
                    product = made(self.evaluator.multiply, one, other)
                    self.evaluator.relinearize_inplace(product, self.keys)
                    products.append(product)
                factors = products + factors[len(factors) // 2 * 2 :]
            for place, output in enumerate(self.circuit.outputs):
                found = factors[0]
                if output.factor is not None:
                    found = made(self.evaluator.multiply, found, self.factor(output.factor, block))
                sums[place] = found if sums[place] is None else made(self.evaluator.add, sums[place], found)
        for one in sums:
            if one.size() == 3:
                self.evaluator.relinearize_inplace(one, self.keys)
        return sums

    def totals(self, sums: list[object]) -> list[int]:
        """What is in them."""
        found, plain = [], sealapi.Plaintext()
        for one in sums:
            self.decryptor.decrypt(one, plain)
            found.append(int(np.array(self.encoder.decode_int64(plain)).sum()))
        return found


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("../shared/data")
    table = pq.read_table(root / "adult" / "train.parquet")
    columns = {name: table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in table.column_names}
    schema, _ = derive_schema(columns)
    told: dict[str, object] = {}
    for filters in (1, 2, 4):
        began = time.process_time()
        plan = plan_table(schema, table.num_rows, filters=filters)
        planned = time.process_time() - began
        print(f"--- filters of {filters} columns, planned in {planned:.2f} s\n{plan.explain()}", flush=True)
        lattice = SealLattice.generate(plan.parameters)
        with tempfile.TemporaryDirectory() as folder:
            keys = lattice.evaluation_keys(relinearisation=True)
            began = time.process_time()
            write_table(
                Path(folder), plan, key=lattice.key.id, keys=keys, columns=encrypt_table(lattice, plan, columns)
            )
            took = time.process_time() - began
            size = sum(path.stat().st_size for path in Path(folder).iterdir())
            print(f"encrypted in {took:.2f} s: {plan.rows / took:.0f} rows/s, {size / plan.rows:.0f} bytes a row")
            opened = read_encrypted_table(Path(folder))
            pace = Pace.measure(plan)
            row: dict[str, object] = {"encrypt_seconds": took, "bytes_per_row": size / plan.rows}
            for name, query in QUERIES.items():
                try:
                    circuit = plan_query(plan, query)
                except Exception as error:  # noqa: BLE001
                    print(f"{name}: {error}")
                    continue

                work = partial(replies, opened, opened.keys, plan=plan, circuit=circuit)
                found = decrypt_result(lattice, plan, circuit, work())
                assert found == simulate(plan, circuit, columns), name
                mine, predicted = seconds(work), pace.seconds(plan, circuit)
                line = f"{name}: {mine:.4f} s (predicted {predicted:.4f}), {len(circuit.outputs)} ciphertexts"
                row[name] = mine
                if filters == 2 and name in ("sum, 2 columns", "histogram of 16, 2 columns"):
                    peer = Peer(plan, lattice, columns, circuit)
                    totals = peer.totals(peer.answer())
                    result = simulate(plan, circuit, columns)
                    assert totals[0] == (result.total if circuit.digits else next(iter(result.histogram.values())))
                    theirs = seconds(peer.answer)
                    row[f"{name}, SEAL"] = theirs
                    line += f"; SEAL {theirs:.4f} s, {theirs / mine:.1f}x"
                print(line, flush=True)
            told[f"filters {filters}"] = row
    print(json.dumps(told))


if __name__ == "__main__":
    main()
