"""Rooms keep their files to themselves and say what they offer.

Who may import whom is import-linter's matter (``make layers``); this is about doors, not floors.
"""

import importlib
import tomllib

import pytest

from tests.house import source

ROOMS = source.rooms()


def test_every_directory_is_a_room_with_a_place_in_the_layers():
    settings = tomllib.loads((source.PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract for contract in settings["contracts"] if contract["id"] == "rooms")
    placed = {name.strip() for layer in layers["layers"] for name in layer.split("|")}
    assert layers["exhaustive"]
    assert not layers["exhaustive_ignores"] or layers["exhaustive_ignores"] == ["__main__"]
    assert set(ROOMS) <= placed


def test_no_room_imports_a_private_file_of_another():
    found = []
    for path in source.modules():
        own = source.room_of(source.dotted_name(path))
        for name, line in source.imported_modules(path):
            room = source.room_of(name)
            private = any(part.startswith("_") and not part.startswith("__") for part in name.split(".")[2:])
            if room not in (None, own) and private:
                found.append(f"{path.relative_to(source.PROJECT_ROOT)}:{line} imports {name}")
    assert not found


def isort_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by the alphabet: the order that ruff keeps."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_all_is_sorted_and_every_name_in_it_exists(room):
    module = importlib.import_module(f"quantumio.{room}" if room else "quantumio")
    names = list(module.__all__)
    assert names == sorted(set(names), key=isort_order)
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_dir_lists_what_is_public(room):
    module = importlib.import_module(f"quantumio.{room}" if room else "quantumio")
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_offers_is_in_all(room):
    """A public name that a room's ``__init__`` takes from its own files is part of its offer."""
    init = source.PACKAGE / room / "__init__.py"
    offered = importlib.import_module(f"quantumio.{room}").__all__
    taken = {
        name.rpartition(".")[2]
        for name, _ in source.imported_modules(init)
        if name.startswith(f"quantumio.{room}._")
    }
    assert sorted(name for name in taken if not name.startswith("_") and name not in offered) == []
