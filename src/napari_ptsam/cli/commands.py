"""The commands ``train``, ``evaluate``, ``info`` and ``demo``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from napari_ptsam.backbones.catalogue import EMBEDDED_NAME, name_and_checkpoint
from napari_ptsam.cli.left_out import report_left_out
from napari_ptsam.cli.progress_bars import PlaneBar, TrainingBar
from napari_ptsam.cli.remedies import CHANNELS, on_command_line
from napari_ptsam.cli.setting_options import options_given
from napari_ptsam.cli.training_sources import open_source
from napari_ptsam.datasets.annotated_planes import annotate
from napari_ptsam.datasets.mask_reading import MaskReading
from napari_ptsam.datasets.pairing import pair
from napari_ptsam.errors import (
    InputError,
    InterruptedByUserError,
    KeptElsewhereError,
    OutputError,
    framed,
)
from napari_ptsam.inference.channels import fit_prompt
from napari_ptsam.prompts.describe import describe, dice_with_error, fine_detail, measured_where
from napari_ptsam.prompts.files import load
from napari_ptsam.prompts.prompt import check_text
from napari_ptsam.prompts.text import to_text
from napari_ptsam.training.settings import TrainingSettings

if TYPE_CHECKING:
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.training.comparison import Comparison
    from napari_ptsam.training.trainer import Training


def train(options: Namespace) -> None:
    """Run ``napari-ptsam train``."""
    begin = perf_counter()
    source = open_source(options)
    settings = source.settings
    start = None if options.start is None else load(options.start)
    check_text(options.notes, options.licence, options.author)
    annotations = source.annotations(start)

    from napari_ptsam.backbones.devices import unused_gpu
    from napari_ptsam.backbones.embedding_cache import with_users_cache
    from napari_ptsam.backbones.loading import load_backbone
    from napari_ptsam.prompts.backbone import backbone_of
    from napari_ptsam.training.trainer import Training

    if start is not None and options.backbone is None:
        backbone = backbone_of(start, options.checkpoint, options.device)
    else:
        backbone = load_backbone(*_which_backbone(options, source.backbone), options.device)
    backbone = with_users_cache(backbone)
    if options.device == "auto" and (advice := unused_gpu()):
        print(f"napari-ptsam: {advice}", file=sys.stderr)
    training = Training(annotations, backbone, settings, start, option=CHANNELS, keep=options.keep)
    with TrainingBar(training.steps) as bar:
        try:
            for progress in training:
                bar.show(progress)
        except KeyboardInterrupt:
            training.close()
            raise InterruptedByUserError(
                f"Stopped after {training.steps_done} of {settings.steps} steps; {source.target} was not written. "
                "Run the same command again to start over, or with fewer --steps to finish earlier."
            ) from None
    prompt = training.prompt
    texts = (options.notes, options.licence, options.author)
    prompt = prompt.with_text(*(words or None for words in texts))
    try:
        path = source.save(prompt)
    except OutputError as error:
        if isinstance(error, KeptElsewhereError):
            raise
        raise _with_text(prompt, error) from error
    if training.kept_start is not None:
        print(f"napari-ptsam: {on_command_line(training.kept_start.sentence)}", file=sys.stderr)
    _report_training(options, path, training, prompt, perf_counter() - begin)
    report_left_out(source.left_out, "the prompt was trained on the rest")


def _with_text(prompt: Prompt, error: OutputError) -> OutputError:
    """Print a prompt that cannot be written anywhere, and return the error that says so."""
    try:
        print(to_text(prompt))
    except InputError:  # it is too long
        return error
    after = " The line above is the prompt as text, without markers, which “import” reads."
    return OutputError(framed(error, after=after))


def _which_backbone(options: Namespace, before: str) -> tuple[str | None, str | Path | None]:
    """Return name and checkpoint: those of the command line, or those used before."""
    if options.backbone or options.checkpoint or not before:
        return options.backbone or EMBEDDED_NAME, options.checkpoint
    return name_and_checkpoint(before)


def _report_training(
    options: Namespace, path: Path, training: Training, prompt: Prompt, total: float
) -> None:
    origin, tiling = prompt.origin, prompt.images.tiling
    seconds = {
        phase: round(spent, 3) for phase, spent in (training.seconds | {"total": total}).items()
    }
    if options.json:
        _print_json(
            {
                "prompt": str(path),
                "steps": origin.steps,
                "batch_size": origin.batch_size,
                "seconds": seconds,
                "held_out_dice": origin.held_out_dice,
                "dice_error": origin.dice_error,
                "cross_validated": origin.cross_validated,
                "measured_on_training": origin.measured_on_training,
                "trained_parameters": prompt.trained_parameters,
                "encoder_tokens": len(prompt.encoder_tokens[0]) if prompt.encoder_tokens else 0,
                "detail": [0.0 if head is None else head.share for head in prompt.detail],
                "tile": tiling.side,
                "whole": tiling.whole,
                "images": origin.images,
                "held_out_images": origin.held_out_images,
                "backbone": prompt.backbone,
                "kept_start": _numbers(training.kept_start),
                "device": str(training.backbone.device),
            }
        )
        return
    detail = fine_detail(prompt)
    print(
        f"{path}: Dice {dice_with_error(origin)} ({measured_where(origin)}); {tiling}; "
        f"{prompt.trained_parameters:,} parameters, {path.stat().st_size:,} bytes, {total:.0f} s"
        + f"; fine detail: {detail}"
        * bool(detail)
    )


def _numbers(kept: Comparison | None) -> dict[str, float] | None:
    """Return what JSON says about a start that is kept."""
    if kept is None:
        return None
    return {"dice": kept.before, "new_dice": kept.after, "images": kept.planes}


def evaluate(options: Namespace) -> None:
    """Run ``napari-ptsam evaluate``."""
    from napari_ptsam.evaluation.evaluate import evaluate as evaluate_planes
    from napari_ptsam.evaluation.evaluate import summary
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.prompts.backbone import backbone_of

    prompt = load(options.prompt)
    reading = MaskReading(
        prompt.classes,
        options.unlabelled,
        options.empty,
        options.background,
        bool(options.instances),
    )
    left_out: list[str] = []
    images, masks = pair(options.images, options.masks, options.axes, prompt.classes, left_out)
    several = len(images) > 1 or bool(left_out)
    annotations = annotate(
        images, masks, reading, complete=False, left_out=left_out if several else None
    )
    fitted, caution = prompt, ""
    for planes in annotations.stacks:
        fitted, words = fit_prompt(prompt, planes, options.channels, CHANNELS)
        caution = caution or words
    if caution:
        print(f"napari-ptsam: {caution}", file=sys.stderr)
    backbone = backbone_of(prompt, options.checkpoint, options.device)
    segmenter = Segmenter(fitted, backbone)
    scores = []
    with PlaneBar(len(annotations.examples), "evaluating") as bar:
        for score in evaluate_planes(annotations, segmenter):
            scores.append(score)
            bar.show(len(scores))
    scored = summary(scores, prompt.classes)
    if options.json:
        _print_json(scored)
    else:
        _report_scores(scored)
    report_left_out(left_out, "the others were evaluated")


def _report_scores(scored: dict[str, object]) -> None:
    from napari_ptsam.evaluation.evaluate import WAYS

    for image in scored["images"]:  # type: ignore[attr-defined]
        print(f"{image['name']}: IoU {image['iou']:.3f}, Dice {image['dice']:.3f}")
    for name, values in scored["classes"].items():  # type: ignore[attr-defined]
        print(f"class {name}: IoU {values['iou']:.3f}, Dice {values['dice']:.3f}")
    print(f"mean: IoU {scored['iou']:.3f}, Dice {scored['dice']:.3f}")
    if scored["ap50"] is not None:
        print(
            f"objects ({WAYS[scored['split']]}): AP at IoU 0.5 {scored['ap50']:.3f}, "  # type: ignore[index]
            f"mean over 0.5-0.95 {scored['ap']:.3f}"
        )
        if scored["split"] == "markers":
            print(f"objects ({WAYS['components']}): AP at IoU 0.5 {scored['ap50_components']:.3f}")


def info(options: Namespace) -> None:
    """Run ``napari-ptsam info``."""
    prompt = load(options.prompt)
    if options.json:
        _print_json({"file": str(options.prompt), **prompt.describe()})
        return
    print(describe(prompt, options.prompt))


def demo(options: Namespace) -> None:
    """Run ``napari-ptsam demo``."""
    from napari_ptsam.cli.demo import run_demo

    settings = TrainingSettings(
        **options_given(options, TrainingSettings),
        encoder_tokens=0,  # the same on every machine, whatever its speed
    )
    with TrainingBar(settings.steps) as training, PlaneBar(40, "segmenting") as planes:
        report = run_demo(
            options.out, settings, options.overwrite, options.device,
            training.show, lambda done, total: planes.show(done),
        )  # fmt: skip
    if options.json:
        _print_json({"folder": str(options.out), **report.figures})
    else:
        print(f"{report.text}\nWritten to {options.out}")


def _print_json(values: dict[str, Any]) -> None:
    print(json.dumps(values))
