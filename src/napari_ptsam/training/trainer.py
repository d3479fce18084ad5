"""Tuning: an iterator of progress that can be closed at any moment."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.errors import CollapsedError, InputError
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.prompt import Origin, Prompt, default_colours
from napari_ptsam.sam.decoder import TOKENS, WIDTH
from napari_ptsam.training.examples import AnnotationSet, Example
from napari_ptsam.training.loss import bce_dice
from napari_ptsam.training.measuring import MeasuredPlane, Measurement, embed_planes, measure
from napari_ptsam.training.scale import choose_tiling
from napari_ptsam.training.settings import Progress, TrainingSettings
from napari_ptsam.training.tiles import TrainingTile, embed, measurable_part, plan
from napari_ptsam.versions import package_version

if TYPE_CHECKING:
    from napari_ptsam.sam.backbones import Backbone

CHECKS = 10
"""How often a training measures itself on the held-out planes."""
FEWEST_TO_HOLD_OUT = 4
"""Planes below which none is held out."""
STARTS = ("label", "normal", "label, far")
"""Where the tokens start, one after the other as long as the training collapses."""
PROMPT_LEARNING_RATE = 0.03
"""Highest learning rate when a prompt is trained on."""


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
            start.check_backbone(backbone.name, backbone.signature)
            if start.classes != annotations.classes:
                raise InputError(
                    f"The prompt to start from has the classes {', '.join(start.classes)}, the annotations "
                    f"have {', '.join(annotations.classes)}; they must be the same."
                )
        self.training, self.held_out = split(annotations, self.settings)
        self.images = self._image_settings()
        self.seconds = {"embedding": 0.0, "training": 0.0}
        """Seconds spent in each phase."""
        self.steps_done = 0
        self._best: tuple[float, torch.Tensor] | None = None
        self._tokens: torch.Tensor | None = None
        self._checked: list[MeasuredPlane] = []
        self._start_name = ""
        self._dice: float | None = None
        self._generator = self._run()

    def __iter__(self) -> Iterator[Progress]:
        return self._generator

    def close(self) -> None:
        """Stop; the best prompt so far stays available."""
        self._generator.close()

    @property
    def prompt(self) -> Prompt:
        """The best prompt so far.

        Raises
        ------
        CollapsedError
            If nothing has been learned yet that tells foreground from background.
        """
        if self._best is None and self._tokens is not None and self._checked:
            self._check(self._tokens)
        if self._best is None:
            raise CollapsedError(
                "The training was stopped before it had learned to tell the classes apart; let it run longer."
            )
        dice, tokens = self._best
        annotations, settings = self.annotations, self.settings
        return Prompt(
            tokens=tokens.cpu().numpy().astype(np.float32),
            classes=annotations.classes,
            colours=self.start.colours if self.start else default_colours(len(annotations.classes)),
            backbone=self.backbone.name,
            signature=self.backbone.signature,
            images=self.images,
            pixel_size=annotations.pixel_size,
            origin=Origin(
                images=len(annotations.examples),
                held_out_images=len(self.held_out),
                steps=self.steps_done,
                batch_size=settings.batch_size,
                seed=settings.seed,
                held_out_dice=dice,
                measured_on_training=not self.held_out,
                start=self._start_name,
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                versions={name: package_version(name) for name in ("napari-ptsam", "torch")},
            ),
            notes=self.start.notes if self.start else "",
            licence=self.start.licence if self.start else "",
        )

    def _image_settings(self) -> ImageSettings:
        if self.start is not None:
            return self.start.images
        settings, tile = self.settings, self.settings.tile
        examples = self.annotations.examples
        if tile == "auto":
            tiling = choose_tiling(examples)
        elif tile == "whole":
            tiling = Tiling(int(np.median([max(e.shape) for e in examples])), whole=True)
        else:
            tiling = Tiling(int(tile))
        return ImageSettings(tiling, settings.normalization, settings.channels)

    def _run(self) -> Generator[Progress, None, None]:
        tiles: list[TrainingTile] = []
        yield from self._embed(tiles)
        starts = ("prompt",) if self.start is not None else STARTS
        for number, name in enumerate(starts):
            self._start_name = name
            note = "" if number == 0 else "The training had collapsed; trying another start."
            yield from self._optimise(tiles, number, note)
            if self._best is not None:
                break
        else:
            raise CollapsedError(
                f"The training collapsed from each of {len(starts)} starts: it finds a class nowhere or "
                "everywhere. Look for wrong masks, add annotated planes, or try another tile size."
            )
        yield Progress("done", self.steps_done, self.settings.steps, held_out_dice=self._best[0])

    def _embed(self, tiles: list[TrainingTile]) -> Generator[Progress, None, None]:
        """Embed all tiles once, those to measure on first."""
        begin = perf_counter()
        limits = [self.images.limits(stack) for stack in self.annotations.stacks]
        rng = np.random.default_rng(self.settings.seed)
        jobs = plan(self.training, self.images, rng)
        measured = [measurable_part(e, self.images) for e in self.held_out or self.training]
        total = len(jobs) + sum(len(self.images.tiling.tiles(e.shape)) for e in measured)
        step_seconds: float | None = None
        done = 0
        for plane in embed_planes(measured, self.images, limits, self.backbone):
            if plane is not None:
                self._checked.append(plane)
            done += 1
            yield self._embedding_progress(done, total, begin, step_seconds)
        classes = len(self.annotations.classes)
        for tile in embed(jobs, self.training, self.images, limits, self.backbone, classes):
            tiles.append(tile)
            done += 1
            if step_seconds is None and len(tiles) == min(self.settings.batch_size, len(jobs)):
                step_seconds = self._time_one_step(tiles)
            self.seconds["embedding"] = perf_counter() - begin
            yield self._embedding_progress(done, total, begin, step_seconds)

    def _embedding_progress(
        self, done: int, total: int, begin: float, step_seconds: float | None
    ) -> Progress:
        left = None
        if step_seconds is not None:
            left = (perf_counter() - begin) / done * (total - done)
            left += step_seconds * self.settings.steps
        return Progress("embedding", done, total, seconds_left=left)

    def _time_one_step(self, tiles: list[TrainingTile]) -> float:
        tokens = self._first_tokens("label", torch.Generator().manual_seed(0)).requires_grad_()
        begin = perf_counter()
        self._loss(tokens, tiles).backward()
        return perf_counter() - begin

    def _optimise(
        self, tiles: list[TrainingTile], attempt: int, note: str
    ) -> Generator[Progress, None, None]:
        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed * 10 + attempt)
        tokens = self._first_tokens(self._start_name, generator).requires_grad_()
        rate = settings.learning_rate if self.start is None else PROMPT_LEARNING_RATE
        optimiser = torch.optim.AdamW([tokens], lr=rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, rate, total_steps=settings.steps + 1, pct_start=0.1
        )
        batches = _batches(len(tiles), settings.batch_size, generator)
        begin = perf_counter()
        spent = self.seconds["training"]
        interval = max(1, settings.steps // CHECKS)
        for step in range(1, settings.steps + 1):
            optimiser.zero_grad()
            loss = self._loss(tokens, [tiles[i] for i in next(batches)])
            loss.backward()
            torch.nn.utils.clip_grad_norm_([tokens], 1.0)
            optimiser.step()
            schedule.step()
            self._tokens, self.steps_done = tokens.detach(), step
            if step % interval == 0 or step == settings.steps:
                measurement = self._check(self._tokens)
                if measurement.collapsed and self._best is None and step > settings.steps // 3:
                    self.seconds["training"] = spent + perf_counter() - begin
                    return
            elapsed = perf_counter() - begin
            self.seconds["training"] = spent + elapsed
            yield Progress(
                "training", step, settings.steps, float(loss.detach()), self._dice,
                elapsed / step * (settings.steps - step), note,
            )  # fmt: skip

    def _first_tokens(self, name: str, generator: torch.Generator) -> torch.Tensor:
        shape = (len(self.annotations.classes), TOKENS, WIDTH)
        if name == "prompt":
            assert self.start is not None
            return torch.from_numpy(self.start.tokens.copy()).to(self.backbone.device)
        noise = torch.randn(shape, generator=generator).to(self.backbone.device)
        if name == "normal":
            return noise
        return self.backbone.decoder.foreground_label + noise * (0.02 if name == "label" else 0.5)

    def _loss(self, tokens: torch.Tensor, tiles: list[TrainingTile]) -> torch.Tensor:
        embeddings = torch.stack([tile.embedding for tile in tiles])
        targets = torch.stack([tile.target for tile in tiles])
        weights = torch.stack([tile.weight for tile in tiles])
        losses = [
            bce_dice(self.backbone.decoder(embeddings, own), targets[:, i], weights)
            for i, own in enumerate(tokens)
        ]
        return torch.stack(losses).mean()

    def _check(self, tokens: torch.Tensor) -> Measurement:
        measurement = measure(self._checked, tokens, self.backbone)
        self._dice = measurement.dice
        better = self._best is None or measurement.dice >= self._best[0]
        if better and not measurement.collapsed:
            self._best = (measurement.dice, tokens.clone())
        return measurement


def split(
    annotations: AnnotationSet, settings: TrainingSettings
) -> tuple[list[Example], list[Example]]:
    """Split into training and held-out examples; every class stays in the training part.

    Returns
    -------
    training, held_out
        The second is empty if there are fewer than four examples.
    """
    examples = list(annotations.examples)
    count = round(len(examples) * settings.held_out)
    if len(examples) < FEWEST_TO_HOLD_OUT or settings.held_out == 0:
        return examples, []
    order = np.random.default_rng(settings.seed).permutation(len(examples))
    held_out: set[int] = set()
    for candidate in map(int, order):
        rest = [e for i, e in enumerate(examples) if i not in held_out | {candidate}]
        present = set().union(*(np.unique(e.labels).tolist() for e in rest))
        if len(held_out) < max(1, count) and len(present - {0}) == len(annotations.classes):
            held_out.add(candidate)
    return (
        [e for i, e in enumerate(examples) if i not in held_out],
        [e for i, e in enumerate(examples) if i in held_out],
    )


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Numbers of tiles, each as often as the others, in random order, for ever."""
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[:size]
        waiting = waiting[size:]
