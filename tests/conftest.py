"""Fixtures that every test may use: real models, bundles and servers."""

from __future__ import annotations

import os

# Before NumPy and scikit-learn are imported: two cores, two test workers, and threads that only spin against each
# other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Generator, Iterator

import httpx
import hypothesis
import pytest

import orris
from orris.api import Bundle
from tests.buckets import AZURITE, azurite, emulator
from tests.example_tables import MEASUREMENTS, TABLE, mixed_table
from tests.servers import Server, client, serving

# An example may take any time: on a busy machine a limit would fail tests by chance. pytest-timeout bounds each test.
hypothesis.settings.register_profile("orris", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("orris")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failure in CI, which has to install what the skip names."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the ``validated`` properties of passed tests: what was validated without being run, counted."""
    properties = [
        each for report in terminalreporter.getreports("passed") for each in getattr(report, "user_properties", [])
    ]
    for line in sorted({str(value) for name, value in properties if name == "validated"}):
        terminalreporter.write_line(f"validated  {line}")


@pytest.fixture(scope="session")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The default model: logistic regression on iris, published as 1.0.0 in a store of its own."""
    store = tmp_path_factory.mktemp("store")
    return orris.train(store=store, table=TABLE, target="species", name="iris", version="1.0.0", bounds=MEASUREMENTS)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model of a table with numbers, integers, booleans, categories and missing values in each."""
    return orris.train(
        mixed_table(),
        target="churned",
        name="churn",
        model="logistic",
        version="1.0.0",
        store=tmp_path_factory.mktemp("store"),
    )


@pytest.fixture(scope="session")
def server(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The iris model, served by a process."""
    with serving(str(iris.folder), folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def ask(server: Server) -> Iterator[httpx.Client]:
    """A client of ``server``."""
    with client(server) as asking:
        yield asking


@pytest.fixture(scope="session")
def mixed_server(mixed: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The mixed model, served by a process."""
    with serving(str(mixed.folder), folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def gs() -> Iterator[str]:
    """The emulated Google Cloud Storage, conditional puts included: its bucket's URL."""
    with emulator("gs") as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        yield "gs://orris"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The emulated S3: its bucket's URL."""
    variables = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    with emulator("s3") as url, pytest.MonkeyPatch.context() as patch:
        for key, value in {**variables, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(key, value)
        yield "s3://orris"


@pytest.fixture(scope="session")
def az() -> Iterator[str]:
    """The emulated Azure Blob Storage: its container's URL."""
    if not AZURITE.exists():
        pytest.skip("Azurite is absent: npm ci --prefix tests/store/azurite --ignore-scripts")
    import fsspec

    with azurite() as connection, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        fsspec.filesystem("az", use_listings_cache=False).mkdir("orris")
        yield "az://orris"
