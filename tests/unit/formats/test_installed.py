"""Finding formats and storage classes."""

import subprocess
import sys
import textwrap

import pytest

from quantumio.errors import ErrorKind, FormatError, InvalidInputError, MissingExtraError
from quantumio.formats import InstalledFormats
from quantumio.formats.text import TextDelegate, TextFormat

FORMATS = ("asdf", "bytes", "ecsv", "fits", "json", "npy", "parquet", "text", "yaml")
STORAGE_CLASSES = (
    "ArrowTable",
    "AstropyTable",
    "Bytes",
    "CCDData",
    "DataFrame",
    "HDUList",
    "Mapping",
    "NDArray",
    "Text",
)


class ShoutingFormat(TextFormat):
    name = "shout"


def test_built_in_names_are_listed(formats):
    assert set(FORMATS) <= set(formats.format_names())
    assert set(STORAGE_CLASSES) <= set(formats.storage_class_names())
    assert list(formats.format_names()) == sorted(formats.format_names())


@pytest.mark.parametrize("name", FORMATS)
def test_every_built_in_format_loads_and_bears_its_name(formats, name):
    assert formats.format(name).name == name
    assert formats.format(name) is formats.format(name)
    assert formats.format(name).extension.startswith(".")


@pytest.mark.parametrize("name", STORAGE_CLASSES)
def test_declaration_and_delegate_agree(formats, name):
    declared = formats.storage_class(name)
    assert formats.delegate(name).storage_class == declared
    assert declared.forms[0] == "native"
    for format_name in declared.formats:
        assert name in formats.format(format_name).storage_classes
    for form in declared.forms:
        formats.delegate(name).check_form(form)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_hold_only_storage_classes_that_declare_them(formats, name):
    for storage_class in formats.format(name).storage_classes:
        assert name in formats.storage_class(storage_class).formats


def test_unknown_names_list_those_that_exist(formats):
    with pytest.raises(InvalidInputError, match=r"'pickle'.*fits.*npy"):
        formats.format("pickle")
    with pytest.raises(InvalidInputError, match=r"'Object'.*CCDData.*NDArray"):
        formats.delegate("Object")
    with pytest.raises(InvalidInputError, match=r"'Object'.*CCDData"):
        formats.storage_class("Object")


def test_given_formats_beat_built_in_ones():
    shout, text = ShoutingFormat(), TextDelegate()
    given = InstalledFormats(formats={"text": shout, "shout": shout}, delegates={"Words": text})
    assert given.format("text") is shout
    assert given.format("shout") is shout
    assert given.delegate("Words") is text
    assert "shout" in given.format_names()
    assert "Words" in given.storage_class_names()


def test_missing_library_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "quantumio.formats.asdf", raising=False)
    monkeypatch.setitem(sys.modules, "asdf", None)
    with pytest.raises(MissingExtraError, match=r"quantumio\[asdf\]") as caught:
        InstalledFormats().format("asdf")
    assert caught.value.kind is ErrorKind.MISSING_EXTRA
    assert InstalledFormats().storage_class("CCDData").formats == ("fits", "asdf")


def _distribution(root, name, module, entry_points):
    metadata = root / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(textwrap.dedent(entry_points))
    (root / f"{name}_plugin.py").write_text(textwrap.dedent(module))


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_plugins_of_installed_distributions_are_loaded_when_used(plugins):
    _distribution(
        plugins,
        "loud",
        """
        from quantumio.formats.text import TextDelegate, TextFormat
        class Loud(TextFormat):
            name = "loud"
        class Words(TextDelegate):
            pass
        """,
        """
        [quantumio.formats]
        loud = loud_plugin:Loud
        [quantumio.storage_classes]
        Words = loud_plugin:Words
        """,
    )
    found = InstalledFormats()
    assert "loud" in found.format_names()
    assert "Words" in found.storage_class_names()
    assert "loud_plugin" not in sys.modules
    assert found.format("loud").name == "loud"
    assert found.storage_class("Words").python_type == "str"


def test_broken_plugins_are_a_typed_error(plugins):
    _distribution(plugins, "broken", "1 / 0", "[quantumio.formats]\nbroken = broken_plugin:Format\n")
    with pytest.raises(FormatError, match="broken_plugin.*ZeroDivisionError"):
        InstalledFormats().format("broken")


def test_plugin_without_its_library_names_the_library(plugins):
    _distribution(plugins, "needy", "import nosuchlib", "[quantumio.formats]\nneedy = needy_plugin:Format\n")
    with pytest.raises(MissingExtraError, match="pip install nosuchlib"):
        InstalledFormats().format("needy")


def test_two_distributions_of_one_name_are_refused(plugins):
    module = "from quantumio.formats.text import TextFormat as Format\n"
    for name in ("one", "two"):
        _distribution(plugins, name, module, f"[quantumio.formats]\nsame = {name}_plugin:Format\n")
    with pytest.raises(InvalidInputError, match="several distributions.*one_plugin.*two_plugin"):
        InstalledFormats().format("same")
    assert InstalledFormats(formats={"same": ShoutingFormat()}).format("same").name == "shout"


def test_names_and_declarations_load_no_library():
    code = """
import sys
from quantumio.formats import InstalledFormats
formats = InstalledFormats()
formats.format_names(), [formats.storage_class(name) for name in formats.storage_class_names()]
heavy = {"asdf", "astropy", "numpy", "pandas", "polars", "pyarrow", "yaml"} & set(sys.modules)
assert not heavy, heavy
formats.format("json"), formats.delegate("Text"), formats.delegate("Bytes")
heavy = {"asdf", "astropy", "pandas", "polars", "pyarrow", "yaml"} & set(sys.modules)
assert not heavy, heavy
formats.format("npy"), formats.delegate("NDArray")
assert "astropy" not in sys.modules
formats.format("fits"), formats.delegate("CCDData")
assert not {"pandas", "polars", "pyarrow"} & set(sys.modules)  # astropy itself loads asdf where it is
"""
    subprocess.run([sys.executable, "-c", code], check=True)
