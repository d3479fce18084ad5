"""Training: an iterator of progress that can be closed at any moment."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.errors import CollapsedError, InputError
from napari_ptsam.prompts.prompt import Origin, Prompt, default_colours
from napari_ptsam.training.examples import AnnotationSet
from napari_ptsam.training.measuring import (
    MeasuredPlane,
    Measurement,
    embed_planes,
    measure,
    planes_of_tiles,
    tiles_to_watch,
)
from napari_ptsam.training.scale import image_settings
from napari_ptsam.training.settings import Progress, TrainingSettings
from napari_ptsam.training.split import split
from napari_ptsam.training.tiles import TrainingTile, embed, measurable_part, plan
from napari_ptsam.training.tuning import (
    STARTS,
    Batches,
    class_losses,
    optimise,
    start_tokens,
    suitable_tiles,
)
from napari_ptsam.versions import package_version

if TYPE_CHECKING:
    from napari_ptsam.sam.backbones import Backbone

CHECKS = 10
"""How often a training measures itself."""
NOISE = 0.05
"""Dice on a few held-out planes is not more exact than that: a later prompt, whose learning rate
has come further down, is taken unless it is worse by more."""
TRIAL_PART = 1 / 16
"""Part of the steps that each start is tried for, before the best goes on."""
SHORTEST_TRIAL = 5
"""Steps below which a trial says nothing, and is left out."""
ATTEMPTS = 3
"""Starts that are followed up, one after the other, as long as the training collapses."""
PROMPT_RATE = 0.3
"""Part of the learning rate with which a prompt is trained on."""


class Training:
    """Tunes decoder tokens for an annotation set; everything else is frozen.

    Iterate over it for `Progress`; stop or `close` whenever you like, then take
    the best prompt so far from `prompt`. Method: Piater, Barz and Freytag,
    "Prompt-Tuning SAM", arXiv 2504.16739.

    Parameters
    ----------
    annotations
        What to learn.
    backbone
        The frozen SAM.
    settings
        How to train.
    start
        A prompt to go on from; its classes, normalisation, channels and tiles
        are kept.

    Raises
    ------
    InputError
        If the start does not fit the annotation set.
    PromptFileError
        If the start belongs to another backbone.
    """

    def __init__(
        self,
        annotations: AnnotationSet,
        backbone: Backbone,
        settings: TrainingSettings | None = None,
        start: Prompt | None = None,
    ) -> None:
        self.settings = settings or TrainingSettings()
        self.backbone, self.annotations, self.start = backbone, annotations, start
        if start is not None:
            _check_start(start, annotations, backbone)
        self.training, self.held_out = split(
            annotations.examples,
            len(annotations.classes),
            self.settings.held_out,
            self.settings.seed,
        )
        self.images = start.images if start else image_settings(annotations.examples, self.settings)
        self.seconds = {"embedding": 0.0, "training": 0.0}
        """Seconds spent in each phase."""
        self.steps_done = 0
        self._tiles: list[TrainingTile] = []
        self._measured: list[MeasuredPlane] = []
        self._watched: list[MeasuredPlane] = []
        self._generator = torch.Generator().manual_seed(self.settings.seed)
        self._tokens: torch.Tensor | None = None
        self._best: tuple[float, torch.Tensor] | None = None
        self._top = 0.0
        self._dice: float | None = None
        self._progress = self._run()

    def __iter__(self) -> Iterator[Progress]:
        return self._progress

    def close(self) -> None:
        """Stop; the best prompt so far stays available."""
        self._progress.close()

    @property
    def prompt(self) -> Prompt:
        """The best prompt so far.

        Raises
        ------
        CollapsedError
            If nothing has been learned yet that tells the classes apart.
        """
        if self._best is None and self._tokens is not None:
            self._check(self._tokens)
        if self._best is None:
            raise CollapsedError(
                "The training was stopped before it had learned to tell the classes apart; "
                "let it run longer."
            )
        dice, tokens = self._best
        classes, start = self.annotations.classes, self.start
        return Prompt(
            tokens=tokens.cpu().numpy().astype(np.float32),
            classes=classes,
            colours=start.colours if start else default_colours(len(classes)),
            backbone=self.backbone.name,
            signature=self.backbone.signature,
            images=self.images,
            pixel_size=self.annotations.pixel_size,
            origin=self._origin(dice),
            notes=start.notes if start else "",
            licence=start.licence if start else "",
        )

    def _origin(self, dice: float) -> Origin:
        return Origin(
            images=len(self.annotations.examples),
            held_out_images=len(self.held_out),
            steps=self.steps_done,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            held_out_dice=dice,
            measured_on_training=not self.held_out,
            start="a prompt" if self.start else "label or normal",
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={name: package_version(name) for name in ("napari-ptsam", "torch")},
        )

    def _run(self) -> Generator[Progress, None, None]:
        try:
            yield from self._embed()
            yield from self._train()
        finally:
            self._tiles = []  # hundreds of megabytes

    def _train(self) -> Generator[Progress, None, None]:
        if self.start is not None:
            first = torch.from_numpy(self.start.tokens.copy()).to(self.backbone.device)
            attempts, tried = [first], 0
            self._check(first)
        else:
            attempts, tried = yield from self._try_starts()
            self._top = 0.0  # what was tried for a few steps is no measure for the rest
        if tried or self.start is not None:
            begin = perf_counter()
            self._tiles = suitable_tiles(self.backbone.decoder, attempts[0], self._tiles)
            self.seconds["training"] += perf_counter() - begin
        for number, tokens in enumerate(attempts):
            note = "" if number == 0 else "The training had collapsed; going on from another start."
            if (yield from self._tune(tokens, tried, note)):
                dice = self._best[0] if self._best else None
                yield Progress("done", self.steps_done, self.steps_done, None, dice, 0.0)
                return
        raise CollapsedError(
            f"The training collapsed from {len(attempts)} different starts: it finds a class nowhere "
            "or everywhere. Look for wrong masks, add annotated planes, or try another tile size."
        )

    def _embed(self) -> Generator[Progress, None, None]:
        """Embed all tiles once, those to measure on first."""
        begin = perf_counter()
        images, classes = self.images, len(self.annotations.classes)
        limits = [images.limits(stack) for stack in self.annotations.stacks]
        rng = np.random.default_rng(self.settings.seed)
        jobs = plan(self.training, images.tiling, self.settings.embeddings, rng)
        measured = [measurable_part(example, images) for example in self.held_out]
        total = len(jobs) + sum(len(images.tiling.tiles(example.shape)) for example in measured)
        step_seconds: float | None = None

        def progress(done: int) -> Progress:
            self.seconds["embedding"] = spent = perf_counter() - begin
            left = None
            if step_seconds is not None:
                left = spent / done * (total - done) + step_seconds * self.settings.steps
            return Progress("embedding", done, total, seconds_left=left)

        done = 0
        for plane in embed_planes(measured, images, limits, self.backbone):
            if plane is not None:
                self._measured.append(plane)
            done += 1
            yield progress(done)
        for tile in embed(jobs, self.training, images, limits, self.backbone, classes):
            self._tiles.append(tile)
            done += 1
            if step_seconds is None and len(self._tiles) == min(
                self.settings.batch_size, len(jobs)
            ):
                step_seconds = self._time_one_step()
            yield progress(done)
        if self.held_out:
            self._watched = tiles_to_watch(self.training, self._tiles, classes)
        else:
            self._measured = planes_of_tiles(self.training, images.tiling, self._tiles)

    def _time_one_step(self) -> float:
        tokens = self._start("label", torch.Generator().manual_seed(0)).requires_grad_()
        begin = perf_counter()
        class_losses(self.backbone.decoder, tokens, self._tiles).sum().backward()
        return perf_counter() - begin

    def _start(self, name: str, generator: torch.Generator) -> torch.Tensor:
        return start_tokens(name, self.backbone.decoder, len(self.annotations.classes), generator)

    def _try_starts(self) -> Generator[Progress, None, tuple[list[torch.Tensor], int]]:
        """Tune each start for a while on upright tiles; for each class, the best one goes on."""
        steps = int(self.settings.steps * TRIAL_PART)
        starts = [self._start(name, self._generator) for name in STARTS]
        if steps < SHORTEST_TRIAL:
            return starts[:ATTEMPTS], 0
        tried, losses = [], []
        for number, tokens in enumerate(starts):
            late: list[torch.Tensor] = []
            self._tokens = tokens
            upright = [tile for tile in self._tiles if tile.upright]
            yield from self._optimise(tokens, upright, steps, number * steps, late)
            tried.append(self._tokens)
            self._check(self._tokens)
            losses.append(torch.stack(late[-max(1, steps // 2) :]).mean(0))
        order = torch.stack(losses).argsort(0)  # (starts, classes)
        stacked = torch.stack(tried)
        classes = torch.arange(stacked.shape[1], device=order.device)
        return [stacked[order[rank], classes] for rank in range(ATTEMPTS)], steps * len(starts)

    def _tune(
        self, tokens: torch.Tensor, before: int, note: str
    ) -> Generator[Progress, None, bool]:
        """Tune to the end, measuring now and then; False if it collapsed, which ends it early."""
        steps, fine = self.settings.steps - before, False
        interval = max(1, steps // CHECKS)
        for progress in self._optimise(tokens, self._tiles, steps, before, [], note):
            number = progress.step - before
            if number % interval == 0 or number == steps:
                assert self._tokens is not None
                fine |= not self._check(self._tokens).collapsed
                if not fine and number > steps // 3:
                    return False
            yield progress
        return fine

    def _optimise(
        self,
        tokens: torch.Tensor,
        tiles: list[TrainingTile],
        steps: int,
        before: int,
        losses: list[torch.Tensor],
        note: str = "",
    ) -> Generator[Progress, None, None]:
        """Run the optimiser; the tokens stay in ``_tokens``, the losses are appended."""
        settings = self.settings
        rate = settings.learning_rate * (PROMPT_RATE if self.start else 1.0)
        batches = Batches(tiles, settings.batch_size, self._generator)
        spent, begin = self.seconds["training"], perf_counter()
        for step in optimise(self.backbone.decoder, tokens, batches, steps, rate):
            losses.append(step.losses)
            self._tokens, self.steps_done = step.tokens, before + step.number
            left = (perf_counter() - begin) / step.number * (settings.steps - self.steps_done)
            self.seconds["training"] = spent + perf_counter() - begin
            loss = float(step.losses.mean())
            yield Progress(
                "training", self.steps_done, settings.steps, loss, self._dice, left, note
            )
            # What the caller did meanwhile, such as measuring, is part of the phase.
            self.seconds["training"] = spent + perf_counter() - begin

    def _check(self, tokens: torch.Tensor) -> Measurement:
        measurement = measure(self._measured, tokens, self.backbone, self._watched)
        self._dice = measurement.dice
        if not measurement.collapsed:
            self._top = max(self._top, measurement.dice)
            if measurement.dice >= self._top - NOISE:
                self._best = (measurement.dice, tokens.clone())
        return measurement


def _check_start(start: Prompt, annotations: AnnotationSet, backbone: Backbone) -> None:
    start.check_backbone(backbone.name, backbone.signature)
    if start.classes != annotations.classes:
        raise InputError(
            f"The prompt to start from has the classes {', '.join(start.classes)}, the annotations "
            f"have {', '.join(annotations.classes)}; they must be the same."
        )
