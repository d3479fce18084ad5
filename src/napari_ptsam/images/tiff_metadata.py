"""Read pixel size, time between frames and channel names from the metadata of TIFF files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_ptsam.images.pixel_sizes import pixel_size_of, time_step_of
from napari_ptsam.images.planes import PixelSize, TimeStep


def pixel_size(file: Any, ome_xml: str | None, image: int = 0) -> PixelSize | None:
    """Return the pixel size of an image in OME-XML, or of ImageJ's tags.

    The resolution of other TIFFs is that of a print.

    Parameters
    ----------
    file
        An opened `tifffile.TiffFile`.
    ome_xml
        The OME-XML text that describes the file, if there is one.
    image
        Number of the image in that text.

    Returns
    -------
    PixelSize or None
        None if it is not stated, or implausible.
    """
    if ome_xml:
        pixels = _ome_pixels(ome_xml, image)
        stated = [axis for axis in "ZYX" if f"PhysicalSize{axis}" in pixels]
        sizes = {axis: float(pixels[f"PhysicalSize{axis}"]) for axis in stated}
        return pixel_size_of(
            sizes, {a: str(pixels.get(f"PhysicalSize{a}Unit", "µm")) for a in "ZYX"}
        )
    metadata = file.imagej_metadata
    if metadata is None:
        return None
    tags = file.pages[0].tags
    resolutions = {
        axis: tags[f"{axis}Resolution"].value for axis in "YX" if f"{axis}Resolution" in tags
    }
    sizes = {axis: below / above for axis, (above, below) in resolutions.items() if above}
    if "spacing" in metadata:
        sizes["Z"] = float(metadata["spacing"])
    unit = str(metadata.get("unit", ""))
    # ImageJ states the units of y and z only if they differ from that of x.
    others = {axis: str(metadata.get(f"{axis.lower()}unit", unit)) for axis in "ZY"}
    return pixel_size_of(sizes, {"X": unit, **others})


def time_step(file: Any, ome_xml: str | None, image: int = 0) -> TimeStep | None:
    """Return the time between frames that OME-XML or ImageJ states; see `pixel_size`."""
    if ome_xml:
        pixels = _ome_pixels(ome_xml, image)
        if "TimeIncrement" not in pixels:
            return None
        return time_step_of(
            float(pixels["TimeIncrement"]), str(pixels.get("TimeIncrementUnit", "s"))
        )
    metadata = file.imagej_metadata or {}
    if "finterval" not in metadata:
        return None
    return time_step_of(float(metadata["finterval"]), str(metadata.get("tunit", "s")))


def channel_names(file: Any, ome_xml: str | None, image: int = 0) -> tuple[str, ...]:
    """Return the channel names of OME-XML, or ImageJ's labels; see `pixel_size`."""
    if ome_xml:
        channels = _ome_pixels(ome_xml, image).get("Channel", [])
        channels = channels if isinstance(channels, list) else [channels]
        return tuple(str(channel.get("Name", "")) for channel in channels)
    return tuple(map(str, (file.imagej_metadata or {}).get("Labels", ())))


def _ome_pixels(ome_xml: str, image: int) -> Mapping[str, Any]:
    import tifffile

    images = tifffile.xml2dict(ome_xml)["OME"]["Image"]
    pixels: Mapping[str, Any] = (images if isinstance(images, list) else [images])[image]["Pixels"]
    return pixels
