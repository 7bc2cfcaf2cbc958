"""Plain 2D images (PNG, JPEG, BMP, TIFF) as volumes with K = 1.

These formats record neither position nor orientation, and rarely a pixel size, so the geometry is nominal: 1 mm in
all directions, ITK's identity. Areas, volumes and distances of such images are in pixels, whatever their unit says.
"""

import warnings
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from medgan.errors import MedganError
from medgan.volume.affine import lps_to_ras
from medgan.volume.checks import MAX_VOXELS, check_num_voxels
from medgan.volume.volume import Volume

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")  # or Pillow would take any by its content, and run Ghostscript for EPS
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_TIFFS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "HSV"}


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return a grey image in its stored type, axes (1, I = columns, J = rows, 1), with a nominal 1 mm spacing.

    A colour image whose channels are equal everywhere is taken as grey.

    Raises:
        MedganError: if the file is truncated or corrupt, is in colour, has several pages, or is too large.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            _check_end(file, size=path.stat().st_size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size warning; ours is the refusal below
            with Image.open(path, formats=_FORMATS) as image:
                image.verify()  # the checksums of a PNG; it leaves the image unusable
            with Image.open(path, formats=_FORMATS) as image:
                _check_size(path, image, max_voxels=max_voxels)
                pixels = _grey_pixels(path, image)
    except MedganError:
        raise
    except Exception as error:  # damaged bytes make Pillow's plugins raise many kinds
        raise MedganError(f"{path} is truncated, damaged or not an image of its kind; export it again.") from error
    return Volume(pixels.T[None, :, :, None], lps_to_ras(np.eye(4)))


def _check_end(file: BinaryIO, *, size: int) -> None:
    """Raise `ValueError` for a file cut behind its pixels, where Pillow stops reading or libtiff writes to stderr."""
    head = file.read(8)
    if head == _PNG:
        _find_png_end(file)
    elif head.startswith(b"BM") and int.from_bytes(head[2:6], "little") > size:
        raise ValueError("a BMP shorter than it says")
    elif (order := _TIFFS.get(head[:4])) is not None:
        directory = int.from_bytes(head[4:], order)
        file.seek(directory)
        num_entries = int.from_bytes(file.read(2), order)
        if directory + 2 + 12 * num_entries + 4 > size:
            raise ValueError("a TIFF that ends within its directory")


def _find_png_end(file: BinaryIO) -> None:
    while len(head := file.read(8)) == 8:
        if head[4:] == _PNG_END[:4]:
            if head[:4] == bytes(4) and file.read(4) == _PNG_END[4:]:
                return
            break
        file.seek(int.from_bytes(head[:4]) + 4, 1)
    raise ValueError("a PNG without its end chunk")


def _check_size(path: Path, image: Image.Image, *, max_voxels: int) -> None:
    num_pages = getattr(image, "n_frames", 1)
    if num_pages != 1:
        raise MedganError(
            f"{path} must be one 2D image, but has {num_pages} pages; save them as .nii.gz or one by one."
        )
    check_num_voxels(path, (*image.size, 1), max_voxels=max_voxels)


def _grey_pixels(path: Path, image: Image.Image) -> np.ndarray:
    """Return (rows, columns)."""
    if image.mode not in _COLOUR_MODES:
        return np.array(image, dtype=np.uint8 if image.mode == "1" else None)
    red, green, blue, alpha = np.moveaxis(np.asarray(image.convert("RGBA")), -1, 0)
    if not ((red == green).all() and (green == blue).all() and (alpha == alpha.flat[0]).all()):
        raise MedganError(f"{path} must be grey, but is a colour image ({image.mode}); convert it to grey first.")
    grey: np.ndarray = red
    return grey
