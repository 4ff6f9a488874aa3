"""What all tests share: the compilation cache of the entry points, and the real logs where there are any."""

import os
from pathlib import Path

import jax
import pytest

from experiments.shared import cli

LOGS = Path(__file__).parents[2] / "shared" / "data" / "rgb_stacking_experts"


def pytest_configure() -> None:
    """A second run of the tests compiles nothing that the first one did, nor what an entry point did."""
    try:
        cli.open_cache()
    except cli.Refused as refused:
        raise pytest.UsageError(str(refused)) from None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` are skipped where JAX has none."""
    if item.get_closest_marker("gpu") and jax.default_backend() != "gpu":
        pytest.skip(f"needs a GPU; JAX's default backend is {jax.default_backend()}")


@pytest.fixture(scope="session")
def expert_logs() -> Path:
    """The folder of HDF5 logs of real stacking experts; a test that wants them is skipped where there are none."""
    folder = Path(os.environ.get("SKILLHIER_EXPERT_LOGS") or LOGS)
    if not any(folder.glob("*.h5")):
        pytest.skip(f"no expert logs (*.h5) in {folder}; name their folder in SKILLHIER_EXPERT_LOGS")
    return folder


@pytest.fixture(scope="module", autouse=True)
def forgetful():
    """Programs that one file compiled are of no use to the next, and all together they fill ten gigabytes."""
    yield
    jax.clear_caches()
