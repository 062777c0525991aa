"""For all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.required import missing, needed

if TYPE_CHECKING:
    from tests.postgres import Postgres

# Some tests import ONNX Runtime themselves, before the project has told it to report to nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs."""
    needed("psycopg")
    from tests.postgres import programs

    return programs() or missing(
        "PostgreSQL is not installed: `make postgres` installs it, or LOCARA_POSTGRES names the folder of its programs"
    )


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path) -> Iterator[Postgres]:
    """A real PostgreSQL."""
    from tests.postgres import running

    with running(postgres_programs) as server:
        yield server


@pytest.fixture(scope="session")
def nginx() -> Path:
    """Its program."""
    from tests.replicas import program

    return program() or missing("nginx is not installed: `make nginx` installs it, or LOCARA_NGINX names its program")
