"""Colours of organs that are given none, and what a labels file may write for one."""

import colorsys
import re

Color = tuple[int, int, int]

# Okabe and Ito (2008), "Color Universal Design": readers with any kind of colour vision tell them apart. Their black is
# left out, as it does not show on an image, and neighbours in this order differ in lightness as well.
_SAFE: tuple[Color, ...] = (
    (86, 180, 233),  # sky blue
    (213, 94, 0),  # vermillion
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (230, 159, 0),  # orange
    (0, 114, 178),  # blue
)


def default_color(index: int) -> Color:
    """Return the colour of the organ at a place in its map, counted from 0; different for any number of organs."""
    if index < len(_SAFE):
        return _SAFE[index]
    hue = (0.58 + 0.381966 * index) % 1.0  # a golden angle apart
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def parse_color(text: object) -> Color | None:
    """Return the colour of "#rrggbb" or of three numbers from 0 to 255, None of anything else."""
    if isinstance(text, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    if isinstance(text, list | tuple) and len(text) == 3 and all(type(c) is int and 0 <= c <= 255 for c in text):
        return text[0], text[1], text[2]
    return None
