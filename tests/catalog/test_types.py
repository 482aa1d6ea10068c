from __future__ import annotations

import math
import time

import pytest
from sqlalchemy import create_engine, literal, select
from sqlalchemy.dialects import mysql, postgresql

from saewidgets.catalog import Catalog
from saewidgets.catalog.types import AnyFloat, database_now


def test_database_time_is_unix_time_with_milliseconds(catalog: Catalog) -> None:
    before = time.time()
    now = [catalog.now() for _ in range(20)]
    assert before - 0.01 < now[0] <= now[-1] < time.time() + 0.01
    assert any(not float(t).is_integer() for t in now)


def test_database_time_on_other_databases() -> None:
    query = select(database_now())
    assert "clock_timestamp()" in str(query.compile(dialect=postgresql.dialect()))
    assert "UNIX_TIMESTAMP(NOW(6))" in str(query.compile(dialect=mysql.dialect()))


@pytest.mark.parametrize("value", [0.0, -1.5, math.inf, -math.inf, math.nan, 1e308])
def test_any_float_survives(value: float) -> None:
    with create_engine("sqlite://").connect() as connection:
        found = connection.scalar(select(literal(value, AnyFloat())))
    assert found == value or (math.isnan(value) and math.isnan(found))
