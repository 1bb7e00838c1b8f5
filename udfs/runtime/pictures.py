"""One encoded picture as a person sees it: upright, and with a background where it is transparent.

Scoring decodes with `read_picture`. Train with it as well, and a model sees the same pixels in both.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millrace.schemas.steps import ImageOptions
from millrace.udfs.runtime.picture_formats import FORMATS

_ORIENTATION = 274  # the tag, in EXIF and in TIFF
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_BITS_PER_SAMPLE, _TILE_WIDTH, _TILE_LENGTH = 258, 322, 323
_PNG_DEPTH_AT = 24  # the byte of a PNG file that holds its bit depth
# By the value of the tag: how Pillow turns the stored picture upright, and how it turns it back.
_TURNS = {
    2: ("FLIP_LEFT_RIGHT", "FLIP_LEFT_RIGHT"),
    3: ("ROTATE_180", "ROTATE_180"),
    4: ("FLIP_TOP_BOTTOM", "FLIP_TOP_BOTTOM"),
    5: ("TRANSPOSE", "TRANSPOSE"),
    6: ("ROTATE_270", "ROTATE_90"),
    7: ("TRANSVERSE", "TRANSVERSE"),
    8: ("ROTATE_90", "ROTATE_270"),
}


AS_A_PERSON_SEES_IT = ImageOptions()


def read_picture(
    content: bytes, shape: tuple[int, ...], options: ImageOptions = AS_A_PERSON_SEES_IT
) -> NDArray[np.uint8]:
    """Return the pixels of one file's first frame: uint8 ``[channels, height, width]`` of ``shape``.

    Grey or red, green, blue, from 0 to 255, resized (bilinear) where the picture has another size. The
    graph applies ``scale``, ``mean`` and ``std`` of the options, not this function.
    Raises ValueError or OSError for what is no whole picture of a format that is read.
    """
    from PIL import Image

    channels, height, width = shape
    mode = {1: "L", 3: "RGB"}[channels]
    picture = _upright(content, options)
    picture = _opaque(picture, options.background).convert(mode)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def _upright(content: bytes, options: ImageOptions) -> Any:
    """The first frame with 8 bits a channel, turned as ``options`` want it."""
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:  # its own text names an address in memory
        raise UnidentifiedImageError(f"no picture in {', '.join(FORMATS)}") from None
    with opened as file:
        _check_size(file, options.max_pixels)
        # Pillow turns TIFF upright while it loads, and forgets the tag. Of other formats it may find the tag
        # only then.
        orientation = _orientation(file) if file.format == "TIFF" else None
        file.load()
        picture = _eight_bits(file, content)
        turn: str | None = None
        if file.format == "TIFF":
            turn = _turn(orientation, 1) if options.orientation == "stored" else None
        elif options.orientation == "exif":
            turn = _turn(_orientation(file), 0)
        if turn is not None:
            return picture.transpose(Image.Transpose[turn])
        return picture.copy() if picture is file else picture


def _orientation(file: Any) -> Any:
    """The tag's value; None without it, and where EXIF is broken: browsers turn nothing then."""
    try:
        return file.getexif().get(_ORIENTATION)
    except (SyntaxError, ValueError, LookupError, TypeError, OSError, struct.error):
        return None


def _turn(orientation: Any, direction: int) -> str | None:
    """Pillow's name for upright (way 0) or back (1); None for 1 and for values that mean nothing."""
    known = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return None if known is None else known[direction]


def _check_size(file: Any, max_pixels: int) -> None:
    """Raise ValueError for more pixels than may be decoded; a TIFF tile is decoded as a whole."""
    width, height = file.size
    if file.format == "TIFF":
        tile = file.tag_v2.get(_TILE_WIDTH, 0), file.tag_v2.get(_TILE_LENGTH, 0)
        if tile[0] * tile[1] > max_pixels:
            raise ValueError(f"tiles of {tile[0]}x{tile[1]}: more than {max_pixels} pixels")
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height}: more than {max_pixels} pixels")


def _eight_bits(file: Any, content: bytes) -> Any:
    """The loaded picture with 8 bits a channel, and with its transparent colour as Pillow reads it."""
    key = file.info.get("transparency")
    if file.mode.startswith("I;16"):
        return _upper_bits(file, key)
    if file.mode in ("I", "F"):
        raise ValueError(f"mode {file.mode}: nothing says which of its values is white")
    if file.format == "PNG" and isinstance(key, int | tuple):
        file.info["transparency"] = _key_of_eight_bits(key, content[_PNG_DEPTH_AT], file.mode)
    return file


def _upper_bits(file: Any, key: int | None) -> Any:
    """Grey of 9 to 16 bits as its upper 8; Pillow would clip it to white."""
    from PIL import Image

    values, bits = np.asarray(file), 16
    if file.format == "TIFF":
        bits = file.tag_v2.get(_BITS_PER_SAMPLE, (bits,))[0]
        if file.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # which Pillow heeds for 8 bits alone
            values = 2**bits - 1 - values
    grey = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    if key is None:
        return grey
    alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, alpha))


def _key_of_eight_bits(key: Any, depth: int, mode: str) -> Any:
    """A PNG's transparent colour, given in samples of ``depth`` bits, as Pillow has its pixels."""
    if depth > 8:  # noqa: PLR2004 - of 16 bits, Pillow keeps 8, and several colours become one
        raise ValueError("colours of 16 bits of which one is transparent")
    if mode != "L" or depth == 8:  # noqa: PLR2004 - whole samples; of one bit Pillow scales itself
        return key
    largest = 2**depth - 1
    return (key & largest) * 255 // largest


def _opaque(picture: Any, background: tuple[int, int, int]) -> Any:
    """The picture over a background: ``(colour * alpha + background * (255 - alpha)) / 255``, rounded."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    seen = picture.convert("RGBA")
    canvas = Image.new("RGB", seen.size, background)
    canvas.paste(seen.convert("RGB"), mask=seen.getchannel("A"))
    return canvas
