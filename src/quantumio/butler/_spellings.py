"""Keys of data IDs that are named by metadata: ``exposure.obs_id``, ``full_name``, or a text for a number."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import frozen

from quantumio.butler._repository import Repository
from quantumio.errors import ErrorKind, InvalidInputError
from quantumio.model import DataId, DataIdValue, Dimension, DimensionUniverse, make_data_id

__all__ = ["spelled_out"]


@frozen(kw_only=True)
class _Spelled:
    """One key that is named by metadata.

    Attributes
    ----------
    said
        The name that was given.
    element
        The dimension whose record tells its key.
    fields
        Metadata that identifies, one of which is to have the value.
    value
        What was given.
    """

    said: str
    element: Dimension
    fields: tuple[str, ...]
    value: object


def spelled_out(
    universe: DimensionUniverse,
    recorders: Sequence[Repository],
    data_id: object,
    keys: Mapping[str, object],
    defaults: Mapping[str, DataIdValue],
    *,
    dimensions: Collection[str],
    what: str,
) -> DataId | None:
    """Return a data ID with the keys that dimension records tell in the place of the metadata that was given.

    Parameters
    ----------
    universe
        The dimensions there are.
    recorders
        Repositories whose dimension records are asked: the one that is searched, whose word counts, then
        those that may know what it does not.
    data_id, keys, defaults
        As `quantumio.model.make_data_id` takes them.
    dimensions
        Preferred where a bare name is metadata of several.
    what
        Of which object, for messages.

    Returns
    -------
    DataId or None
        None if nothing in it is metadata that identifies a record.

    Raises
    ------
    InvalidInputError
        No record has the value, or several have, or repositories that do not hold the data tell different
        keys; it contradicts another key or is of the wrong type; or the key of a dimension that the other
        one belongs to is missing.
    """
    if data_id is not None and not isinstance(data_id, Mapping):
        return None
    sources = [dict(data_id or {}), dict(keys)]
    spelled = []
    for source in sources:
        for name, value in tuple(source.items()):
            if one := _spelled(universe, dimensions, name, value, what):
                del source[name]
                spelled.append(one)
    if not spelled:
        return None
    values = dict(make_data_id(universe, *sources, what=what))
    order = tuple(universe)
    for one in sorted(spelled, key=lambda one: order.index(one.element.name)):
        key = _key(recorders, one, {**defaults, **values}, what)
        if values.setdefault(one.element.name, key) != key:
            raise InvalidInputError(
                f"{what}: {one.said}={one.value!r} is {one.element.name}={key!r}, "
                f"but {one.element.name}={values[one.element.name]!r} is given as well",
                hint="give one of them",
                kind=ErrorKind.DATA_ID,
            )
    return DataId({name: values[name] for name in universe.sort(values)})


def _spelled(
    universe: DimensionUniverse, dimensions: Collection[str], name: object, value: object, what: str
) -> _Spelled | None:
    if not isinstance(name, str):
        return None
    if name in universe:
        texts = tuple(field for field in universe[name].unique if universe[name].metadata[field] == "str")
        if universe[name].key != "int" or not isinstance(value, str) or not texts:
            return None
        return _Spelled(said=name, element=universe[name], fields=texts, value=value)
    owner, dot, field = name.rpartition(".")
    if not dot:
        owners = [one for one in universe.values() if name in one.unique and not one.is_relation]
        owners = [one for one in owners if one.name in dimensions] or owners
        if len(owners) > 1:
            choices = " or ".join(f"'{one.name}.{name}'" for one in owners)
            raise InvalidInputError(
                f"{what}: {name!r} is metadata of several dimensions",
                hint=f"write {choices}",
                kind=ErrorKind.DATA_ID,
            )
    else:
        owners = [universe[owner]] if owner in universe and not universe[owner].is_relation else []
    if not owners:
        return None
    if field not in owners[0].unique:
        raise InvalidInputError(
            f"{what}: {field!r} identifies no {owner}",
            hint=f"what does: {', '.join((owner, *(f'{owner}.{one}' for one in owners[0].unique)))}",
            kind=ErrorKind.DATA_ID,
        )
    return _Spelled(said=name, element=owners[0], fields=(field,), value=value)


def _key(
    recorders: Sequence[Repository], spelled: _Spelled, known: Mapping[str, DataIdValue], what: str
) -> DataIdValue:
    """Return the key of the record that has a value; the first repository knows it, or the others agree."""
    element = spelled.element
    if missing := [name for name in element.requires if name not in known]:
        raise InvalidInputError(
            f"{what}: {spelled.said}={spelled.value!r} is told by a record, "
            f"and the data ID lacks {', '.join(missing)}",
            hint=f"give {', '.join(f'{name}=...' for name in missing)}, or defaults when opening the Butler",
            kind=ErrorKind.DATA_ID,
        )
    required = {name: known[name] for name in element.requires}
    searched, *others = recorders
    if (key := _recorded(searched, spelled, required, what)) is not None:
        return key
    answers = (_recorded(other, spelled, required, what) for other in others)
    told = {key for key in answers if key is not None}
    if len(told) > 1:
        raise InvalidInputError(
            f"{what}: {spelled.said}={spelled.value!r} is {element.name}="
            f"{' or '.join(sorted(map(repr, told)))}, as different repositories record it",
            hint=f"give {element.name}=..., or search fewer repositories",
            kind=ErrorKind.DATA_ID,
        )
    if told:
        return told.pop()
    raise InvalidInputError(
        f"{what}: {spelled.said}={spelled.value!r} is no key, and no record of {element.name} "
        f"has this {' or '.join(spelled.fields)}"
        + (f" ({', '.join(f'{name}={value!r}' for name, value in required.items())})" if required else ""),
        hint=f"give {element.name}=..., or insert the record first: Butler.insert_dimension(...)",
        kind=ErrorKind.DATA_ID,
    )


def _recorded(
    recorder: Repository, spelled: _Spelled, required: Mapping[str, DataIdValue], what: str
) -> DataIdValue | None:
    """Return the key of the record of a repository that has a value."""
    catalog, name = recorder.catalog, spelled.element.name
    if name not in catalog.universe:  # of other dimensions than the one that is searched
        return None
    found = {
        key
        for field in spelled.fields
        if field in catalog.universe.element(name).unique
        and (key := catalog.record_key(name, field, required, spelled.value)) is not None
    }
    if len(found) > 1:
        raise InvalidInputError(
            f"{what}: several records of {name} have {spelled.value!r} as {' or '.join(spelled.fields)}",
            hint=f"write {' or '.join(f'{name}.{field}' for field in spelled.fields)}",
            kind=ErrorKind.DATA_ID,
        )
    return found.pop() if found else None
