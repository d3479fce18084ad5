"""Descriptions of prompts for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Origin, Prompt

STARTS = {
    "label or normal": "",  # from scratch, as most prompts
    "a prompt": "; continued from another prompt",
    "merged": "; merged from several prompts",
}
"""What a description says about the start of a training, by its name in prompt files."""


def describe(prompt: Prompt, path: Path | None = None) -> str:
    """Return a description of a prompt, and of its file if there is one, in several lines."""
    lines = [f"{path} ({path.stat().st_size:,} bytes)"] if path is not None else []
    return "\n".join(lines + [f"  {name:<12}{text}" for name, text in facts(prompt).items()])


def facts(prompt: Prompt) -> dict[str, str]:
    """Return the properties of a prompt as texts, by name; unknown ones are left out."""
    classes = ", ".join(f"{n} ({c})" for n, c in zip(prompt.classes, prompt.colours, strict=True))
    known = {
        "Classes": classes,
        "Backbone": prompt.backbone_name,
        "Parameters": _parameters(prompt),
        "Objects": _objects(prompt),
        "Made from": _made_from(prompt),
        "Dice": _dice(prompt),
        "Scale": str(prompt.images.tiling),
        "Values": _values(prompt),
        "Edges": _edges(prompt),
        "Fine detail": fine_detail(prompt),
        "Flips": _flips(prompt),
        "Channels": _channels(prompt),
        "Pixel size": _pixel_size(prompt),
        "Date": prompt.origin.date or "unknown",
        "Versions": ", ".join(f"{k} {v}" for k, v in prompt.origin.versions.items()),
        "Author": prompt.author,
        "Notes": prompt.notes,
        "Licence": prompt.licence,
    }
    return {name: words for name, words in known.items() if words}


def image_words(prompt: Prompt) -> str:
    """Return how a prompt sees images: tiles, normalization and channels."""
    channels = f", channels {_channels(prompt)}" if prompt.images.channels else ""
    if not channels and prompt.trained_channels is not None:
        channels = f", {prompt.trained_channels}"
    return f"{prompt.images.tiling}, {_values(prompt)}{channels}"


def fine_detail(prompt: Prompt) -> str:
    """Return how strongly labels are refined with fine texture; empty without detail heads."""
    if not prompt.detail:
        return ""
    strengths = [_strength(0 if head is None else head.share) for head in prompt.detail]
    if len(set(strengths)) == 1:
        return f"labels are refined {strengths[0]}"
    each = ", ".join(
        f"{name} {strength}" for name, strength in zip(prompt.classes, strengths, strict=True)
    )
    return f"labels are refined: {each}"


def _strength(share: float) -> str:
    known = {0: "not at all", 0.25: "at a quarter of the strength", 0.5: "at half strength"}
    return "at full strength" if share == 1 else known.get(share, f"at {share:.0%} of the strength")


def _parameters(prompt: Prompt) -> str:
    heads = (head.parameters for head in prompt.detail if head is not None)
    counts = {
        "encoder tokens": sum(tokens.size for tokens in prompt.encoder_tokens),
        "fine detail": sum(parameters.size for parameters in heads),
    }
    parts = [f"{count:,} of them in {name}" for name, count in counts.items() if count]
    return ", ".join([f"{prompt.trained_parameters:,} trained", *parts])


def _objects(prompt: Prompt) -> str:
    return (
        "those that touch are connected, not split"
        if prompt.markers is None
        else "those that touch are split by their markers"
    )


def _made_from(prompt: Prompt) -> str:
    origin = prompt.origin
    validation = f", {origin.held_out_images} for validation" if origin.held_out_images else ""
    start = STARTS.get(origin.start, f"; start: {origin.start}" if origin.start else "")
    return (
        f"{origin.images} annotated plane{'s' * (origin.images != 1)}{validation}; {origin.steps} steps of {origin.batch_size} tiles, "
        f"seed {origin.seed}{start}"
    )


def _dice(prompt: Prompt) -> str:
    origin = prompt.origin
    if origin.held_out_dice is None:
        return "not measured"
    return f"{dice_with_error(origin)} {measured_where(origin)}"


def measured_where(origin: Origin) -> str:
    """Return on which planes the Dice of a prompt was measured."""
    if origin.cross_validated:
        return f"by cross-validation of all {origin.images} planes"
    if origin.measured_on_training:
        planes = f"{origin.images} planes" if origin.images != 1 else "plane"
        return f"on the {planes} of the training; too few for validation planes"
    count = origin.held_out_images
    return f"on {count} validation plane{'s' * (count != 1)} of {origin.images}"


def dice_with_error(origin: Origin) -> str:
    """Return the Dice of a prompt, with its standard error if that is known."""
    error = "" if origin.dice_error is None else f" ± {origin.dice_error:.3f}"
    return f"{origin.held_out_dice:.3f}{error}"


def _values(prompt: Prompt) -> str:
    values = prompt.images.normalization
    if values.mode == "range":
        return f"{values.low:g} to {values.high:g}"
    return f"percentiles {values.low:g} to {values.high:g} of each {values.mode}"


def _edges(prompt: Prompt) -> str:
    refinement = prompt.refinement
    if refinement is None:
        return ""
    return (
        f"follow the image: guided filter of radius {refinement.radius} px, epsilon "
        f"{refinement.epsilon:g}, threshold {refinement.threshold:g}"
    )


def _flips(prompt: Prompt) -> str:
    if not prompt.flips:
        return ""
    return f"{', '.join(prompt.flips)}: segmenting takes {1 + len(prompt.flips)} times as long, unless flips are turned off"


def _channels(prompt: Prompt) -> str:
    channels, trained = prompt.images.channels, prompt.trained_channels
    shown = "as they are" if channels is None else ", ".join(map(str, channels))
    if trained is None:
        return shown
    return str(trained) if channels is None else f"{shown} of {trained}"


def _pixel_size(prompt: Prompt) -> str:
    size = prompt.pixel_size
    return "unknown" if size is None else f"{size.y:g} x {size.x:g} {size.unit}"
