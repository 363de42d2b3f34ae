"""Reduces GPS fixes to routes: one row for each grid cell that a trip passes, however long it stays there.

    python routes.py "$WARDLINE_DATA/geolife/train.parquet" routes.parquet

What a person's rows become depends on that person's own fixes alone, so whole persons stay protected.
"""

from __future__ import annotations

import sys

import duckdb

CELL = 500  # of a hundred-thousandth degree: 0.005 degrees, about 500 m


def main(source: str, target: str) -> None:
    """Read fixes, write routes."""
    fixes = duckdb.read_parquet(source)
    routes = fixes.project(
        f'"user" AS person, trip, (lat_e5 // {CELL}) * {CELL} AS lat_e5, (lon_e5 // {CELL}) * {CELL} AS lon_e5'
    )
    routes.distinct().order("person, trip, lat_e5, lon_e5").write_parquet(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
