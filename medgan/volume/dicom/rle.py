"""DICOM RLE (PackBits): one segment per byte of a pixel, the most significant first."""

from itertools import pairwise

import numpy as np

_HEADER_BYTES = 64


def decode_rle(frame: bytes, *, rows: int, columns: int, num_bytes: int) -> np.ndarray:
    """Return the words of one grey frame, axes (rows, columns), unsigned, of `num_bytes` bytes each.

    Raises:
        ValueError: if the frame is not whole, or decodes to another number of pixels.
    """
    header = np.frombuffer(frame[:_HEADER_BYTES], "<u4")
    if header.size != _HEADER_BYTES // 4 or header[0] != num_bytes:
        raise ValueError("another number of segments")
    starts = [*header[1 : 1 + num_bytes].tolist(), len(frame)]
    if starts[0] < _HEADER_BYTES or starts != sorted(starts):
        raise ValueError("segments out of order")
    planes = [_decode_segment(frame[start:stop], rows * columns) for start, stop in pairwise(starts)]
    words: np.ndarray = np.stack(planes, axis=-1).view(f">u{num_bytes}")
    return words.astype(words.dtype.newbyteorder("=")).reshape(rows, columns)


def _decode_segment(segment: bytes, num_pixels: int) -> np.ndarray:
    decoded, position = bytearray(), 0
    while len(decoded) < num_pixels:
        control, position = segment[position : position + 1], position + 1
        if not control:
            raise ValueError("a segment is cut off")
        count = control[0]
        if count < 128:
            decoded += segment[position : position + count + 1]
            position += count + 1
        elif count > 128:
            decoded += segment[position : position + 1] * (257 - count)
            position += 1
    too_many = len(decoded) > num_pixels + 1 or segment[position + 1 :].strip(b"\0")
    if position > len(segment) or too_many:  # one byte more may pad it to an even number
        raise ValueError("a segment holds another number of pixels")
    return np.frombuffer(decoded, np.uint8, count=num_pixels)
