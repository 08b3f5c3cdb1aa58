"""Loading one library's file loads no other's."""

import subprocess
import sys

import pytest

_CODE = """
import sys
import quantumio.formats.{module}
wrong = sorted(name for name in {others!r} if name in sys.modules)
assert not wrong, wrong
"""


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("arrow", ["astropy", "pandas", "polars"]),
        ("parquet", ["astropy", "pandas", "polars"]),
        ("astropy_tables", ["pandas", "polars"]),
        ("ecsv", ["pandas", "polars"]),
        ("pandas", ["astropy", "polars"]),
        ("polars", ["astropy", "pandas"]),
    ],
)
def test_a_file_loads_only_its_own_library(module, others):
    done = subprocess.run(
        [sys.executable, "-c", _CODE.format(module=module, others=others)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


_WITHOUT = """
import sys
sys.modules["{library}"] = None
from quantumio.errors import MissingExtraError
try:
    import quantumio.formats.{library}
except MissingExtraError as error:
    print(error)
"""


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_without_the_library_the_error_names_the_extra(library):
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT.format(library=library)], capture_output=True, text=True, check=True
    )
    assert f"pip install 'quantumio[{library}]'" in done.stdout
