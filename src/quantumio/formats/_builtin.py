"""The formats and storage classes that quantumio brings: declared here, loaded when first used."""

from __future__ import annotations

from attrs import field, frozen

from quantumio.model import StorageClass

__all__ = ["BUILT_IN_FORMATS", "BUILT_IN_STORAGE_CLASSES", "EXTRAS", "BuiltInStorageClass", "declaration"]


@frozen(kw_only=True)
class BuiltInStorageClass:
    """A declaration, and where the delegate is that fulfils it (``module:class``)."""

    declaration: StorageClass = field()
    location: str


BUILT_IN_FORMATS = {
    "asdf": "quantumio.formats.asdf:AsdfFormat",
    "bytes": "quantumio.formats.raw:BytesFormat",
    "ecsv": "quantumio.formats.ecsv:EcsvFormat",
    "fits": "quantumio.formats.fits:FitsFormat",
    "json": "quantumio.formats.json:JsonFormat",
    "npy": "quantumio.formats.npy:NpyFormat",
    "parquet": "quantumio.formats.parquet:ParquetFormat",
    "text": "quantumio.formats.text:TextFormat",
    "yaml": "quantumio.formats.yaml:YamlFormat",
}
"""Name of a format to the class that fulfils it."""

EXTRAS = {"asdf": "asdf", "asdf_astropy": "asdf", "pandas": "pandas", "polars": "polars"}
"""Library to the extra of quantumio that installs it."""

_DECLARATIONS = (
    (
        "quantumio.formats.ccddata:CCDDataDelegate",
        StorageClass(
            name="CCDData",
            python_type="astropy.nddata.CCDData",
            # parts that are no dataset on their own carry the name of their Python type
            components={
                "data": "NDArray",
                "image": "NDArray",
                "mask": "NDArray",
                "uncertainty": "astropy.nddata.NDUncertainty",
                "flags": "NDArray",
                "psf": "NDArray",
                "wcs": "astropy.wcs.WCS",
                "unit": "astropy.units.UnitBase",
                "header": "astropy.io.fits.Header",
                "meta": "astropy.io.fits.Header",
            },
            formats=("fits", "asdf"),
            forms=("native", "astropy", "numpy"),
        ),
    ),
    (
        "quantumio.formats.ndarray:NDArrayDelegate",
        StorageClass(
            name="NDArray",
            python_type="numpy.ndarray",
            formats=("npy", "fits", "asdf"),
            forms=("native", "numpy"),
        ),
    ),
    (
        "quantumio.formats.hdulist:HDUListDelegate",
        StorageClass(
            name="HDUList",
            python_type="astropy.io.fits.HDUList",
            formats=("fits",),
            forms=("native", "astropy"),
        ),
    ),
    (
        "quantumio.formats.mapping:MappingDelegate",
        StorageClass(name="Mapping", python_type="dict", formats=("json", "yaml", "asdf")),
    ),
    (
        "quantumio.formats.text:TextDelegate",
        StorageClass(name="Text", python_type="str", formats=("text",)),
    ),
    (
        "quantumio.formats.raw:BytesDelegate",
        StorageClass(name="Bytes", python_type="bytes", formats=("bytes",)),
    ),
    (
        "quantumio.formats.astropy_tables:AstropyTableDelegate",
        StorageClass(
            name="AstropyTable",
            python_type="astropy.table.QTable",
            formats=("parquet", "ecsv", "asdf"),
            forms=("native", "astropy", "pandas", "arrow", "polars", "numpy"),
        ),
    ),
    (
        "quantumio.formats.arrow:ArrowTableDelegate",
        StorageClass(
            name="ArrowTable",
            python_type="pyarrow.Table",
            formats=("parquet",),
            forms=("native", "arrow", "astropy", "pandas", "polars", "numpy"),
        ),
    ),
    (
        "quantumio.formats.pandas:DataFrameDelegate",
        StorageClass(
            name="DataFrame",
            python_type="pandas.DataFrame",
            formats=("parquet",),
            forms=("native", "pandas", "arrow", "astropy", "polars", "numpy"),
        ),
    ),
)

BUILT_IN_STORAGE_CLASSES = {
    declared.name: BuiltInStorageClass(declaration=declared, location=location)
    for location, declared in _DECLARATIONS
}
"""Name of a storage class to its declaration and the delegate that fulfils it."""


def declaration(name: str) -> StorageClass:
    """Return the declaration of a built-in storage class (for its delegate)."""
    return BUILT_IN_STORAGE_CLASSES[name].declaration
