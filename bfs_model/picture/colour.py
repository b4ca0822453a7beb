"""ICC profiles: into sRGB on reading, the sRGB profile itself for writing."""

import io
import logging
import struct
from functools import cache

import numpy as np
from PIL import Image, ImageCms

logger = logging.getLogger(__name__)

# ICC signature of the profile's colour space -> the PIL mode that it applies to.
_MODE_OF = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


@cache
def srgb_profile() -> bytes:
    """The sRGB ICC profile that is written into documents. Always the same bytes."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Bytes 24–35 hold the time of creation (ICC.1:2010, 7.2.1); without this, equal documents would differ.
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an L, RGB, CMYK or LAB image to RGB in sRGB, from the colour space of its ICC `profile` (None: sRGB assumed).

    LAB is CIELAB at D50, as TIFF stores it, and needs no profile. A profile that is unreadable, or meant for another kind of
    image, is ignored with a warning, as browsers do.
    Pixels of an image whose profile is sRGB are returned unchanged.
    """
    if image.mode == "LAB":
        return _transform(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB").apply(image)
    if profile is not None:
        try:
            return _transformed(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            logger.warning("embedded ICC profile ignored: %s", error)
    return image.convert("RGB")


def _transformed(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    space = profile.profile.xcolor_space.strip()
    if space == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    if _MODE_OF.get(space) != image.mode:
        raise ValueError(f"a {space} profile does not apply to a {image.mode} image")
    transform = _transform(profile, image.mode)
    if image.mode == "RGB" and _is_identity(transform):
        return image
    return transform.apply(image)


def _transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    # Relative colorimetric with black point compensation: the default of image editors.
    return ImageCms.buildTransform(
        profile,
        ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform moves no colour of a coarse grid by more than one level: its profile is one of the many sRGBs."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    moved = np.asarray(transform.apply(Image.fromarray(grid))).astype(np.int16) - grid
    return bool(np.abs(moved).max() <= 1)
