"""A DICOM series as a volume: our own check of its geometry, then its pixels.

Values are stored values times slope plus intercept, slice by slice, and nothing else. MONOCHROME1 is a matter of
display. Padding outside the field of view (PixelPaddingValue) stays what the scanner wrote, as in GDCM, dcm2niix and
the tools built on them: it is mostly far below air (-2000 HU), where every intensity window cuts it off. Where it would
be taken for tissue instead, a warning says so.
"""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from medgan.volume.checks import MAX_VOXELS, check_num_voxels, volume_at
from medgan.volume.dicom.decoder import Decoder
from medgan.volume.dicom.files import DicomFile
from medgan.volume.dicom.pixels import check_pixels, check_rescales, read_frame, rescale_of
from medgan.volume.dicom.series import Series, choose_series, scan
from medgan.volume.dicom.slices import Slice
from medgan.volume.dicom.stack import stack_of
from medgan.volume.volume import Volume

_AIR_HU = -900  # padding up to here is air or below


def read(path: str | Path, *, series: str | None = None, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return one image series as float32 in real units (HU), axes (1, I, J, K).

    Slices are sorted by position along their normal, which k follows; i runs along the columns, j along the rows.

    Args:
        path: a folder (with sub-folders), a file, which stands for its series, or a zip.
        series: key, SeriesInstanceUID or description of the series meant, where there are several.
        max_voxels: a series that claims more is refused before memory is taken.

    Raises:
        MedganError: if no one series can be chosen (`choose_series`), its slices are no regular grid (`stack_of`), its
            pixels cannot be read (`check_pixels`), or it holds more than `max_voxels`.

    Example:
        >>> read("export/patient_7", series="1.2.840.113619.2.5#2").spacing_mm  # doctest: +SKIP
        (0.977, 0.977, 3.0)
    """
    where = str(path)
    with scan(path) as found:
        chosen = choose_series(found, where=where, series=series)
        _warn_of_left_out(where, chosen)
        for file in chosen.files:
            check_pixels(file)
        stack = stack_of(chosen, where=where)
        check_num_voxels(where, stack.shape, max_voxels=max_voxels)
        check_rescales([each.header for each in stack.slices])
        data = np.empty(stack.shape, np.float32, order="F")
        num_padded = 0
        with Decoder() as decoder:
            for k, each in enumerate(stack.slices):
                rescale = rescale_of(each.header)
                data[:, :, k] = read_frame(each.file, each.frame, decoder=decoder, rescale=rescale).T
                num_padded += _num_padded_as_tissue(each, data[:, :, k], *rescale)
    if num_padded:
        warnings.warn(
            f"{where}: {num_padded:,} voxels are padding outside the field of view (PixelPaddingValue), but their "
            "values are those of tissue; they are left as stored.",
            stacklevel=2,
        )
    return volume_at(where, data[None], stack.affine)


def _warn_of_left_out(where: str, series: Series) -> None:
    for reason, number in Counter(series.left_out).items():
        warnings.warn(f"{where}: left out of the series: {number} {reason}.", stacklevel=3)


def _num_padded_as_tissue(each: Slice, values: np.ndarray, slope: float, intercept: float) -> int:
    """Return how many values of a CT slice are padding that is no air."""
    if each.file.text("Modality") != "CT" or not each.header.text("PixelPaddingValue"):
        return 0
    padding = _stored(each.header, "PixelPaddingValue")
    has_range = bool(each.header.text("PixelPaddingRangeLimit"))
    limit = _stored(each.header, "PixelPaddingRangeLimit") if has_range else padding
    low, high = sorted(np.float32(stored * slope + intercept) for stored in (padding, limit))
    if high <= _AIR_HU:
        return 0
    return int(np.count_nonzero((values >= max(low, np.float32(_AIR_HU))) & (values <= high)))


def _stored(header: DicomFile, keyword: str) -> int:
    """Return a padding value as the pixels store it: writers differ in whether they give it a sign."""
    number, range_size = header.integer(keyword), 1 << header.integer("BitsAllocated", default=16)
    if header.integer("PixelRepresentation") == 1 and number >= range_size // 2:
        return number - range_size
    if header.integer("PixelRepresentation") == 0 and number < 0:
        return number + range_size
    return number
