"""The main job: a night of CCD frames from raw images to calibrated images, catalogues and pictures.

The science modules (`science`, `frames`, `simulate`) know nothing of quantumio: they take and return
`astropy.nddata.CCDData`, `astropy.table.QTable`, plain mappings and bytes.
"""
