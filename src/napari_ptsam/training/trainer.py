"""Training: an iterator of progress that can be closed at any moment."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.errors import CollapsedError, InputError
from napari_ptsam.metrics import sum_of
from napari_ptsam.prompts.prompt import Origin, Prompt, default_colours
from napari_ptsam.training.draft import Draft
from napari_ptsam.training.embedding import EmbeddedTiles
from napari_ptsam.training.examples import AnnotationSet
from napari_ptsam.training.measuring import Measurement, mean_dice, measure, overlaps
from napari_ptsam.training.scale import image_settings
from napari_ptsam.training.settings import Progress, TrainingSettings
from napari_ptsam.training.split import split
from napari_ptsam.training.tiles import TrainingTile
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

    Iterate over it for `Progress`; stop iterating, or call `stop` from any
    thread, whenever you like, then take the best prompt so far from `prompt`,
    and `close` it to free its memory. Method: Piater, Barz and Freytag,
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
    draft
        Whether to tune a first draft while tiles are embedded, so that `tokens`
        has something to show early; what comes of the training is the same.

    Raises
    ------
    InputError
        If the start does not fit the annotation set, or no plane is left to
        train on.
    PromptFileError
        If the start belongs to another backbone.
    """

    def __init__(
        self,
        annotations: AnnotationSet,
        backbone: Backbone,
        settings: TrainingSettings | None = None,
        start: Prompt | None = None,
        draft: bool = False,
    ) -> None:
        self.settings = settings or TrainingSettings()
        self.backbone, self.annotations, self.start = backbone, annotations, start
        if start is not None:
            _check_start(start, annotations, backbone)
        self.training, self.held_out = split(
            annotations, self.settings.held_out, self.settings.seed
        )
        self.images = start.images if start else image_settings(annotations.examples, self.settings)
        self.seconds = {"embedding": 0.0, "training": 0.0}
        """Seconds spent in each phase."""
        self.steps_done = 0
        self._embedded = EmbeddedTiles(
            self.training, self.held_out, annotations.stacks, self.images, len(annotations.classes)
        )
        self._suitable: list[TrainingTile] = []
        self._generator = torch.Generator().manual_seed(self.settings.seed)
        self._tokens: torch.Tensor | None = None
        self._best: tuple[float, torch.Tensor] | None = None
        self._top = 0.0
        self._dice: float | None = None
        self._stopping = False
        self._draft = (
            Draft(backbone.decoder, len(annotations.classes), self._embedded.tiles)
            if draft and start is None
            else None
        )
        self._progress = self._run()

    def __iter__(self) -> Iterator[Progress]:
        return self._progress

    def stop(self) -> None:
        """Let the iteration end soon; may be called from any thread."""
        self._stopping = True

    def close(self) -> None:
        """Stop, and free the embedded tiles; the best prompt so far stays available."""
        self._progress.close()
        if self._best is None:
            self._check_at_last()
        self._embedded.free()
        self._suitable, self._draft = [], None

    @property
    def tokens(self) -> torch.Tensor | None:
        """Tokens as they are now: float32, shape (classes, 8, 256); None before there are any."""
        if self._tokens is None and self._draft is not None:
            return self._draft.tokens
        return self._tokens

    @property
    def prompt(self) -> Prompt:
        """The best prompt so far.

        Raises
        ------
        CollapsedError
            If nothing has been learned yet that tells the classes apart.
        """
        if self._best is None:
            self._check_at_last()
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
            colours=self._colours(),
            backbone=self.backbone.name,
            signature=self.backbone.signature,
            images=self.images,
            pixel_size=self.annotations.pixel_size,
            origin=self._origin(dice),
            notes=start.notes if start else "",
            licence=start.licence if start else "",
        )

    def _colours(self) -> tuple[str, ...]:
        if self.annotations.colours is not None:
            return self.annotations.colours
        return self.start.colours if self.start else default_colours(len(self.annotations.classes))

    def plane_scores(self) -> Iterator[tuple[int, float]]:
        """Dice of the best prompt on each annotated plane, trained on or held out.

        Yields
        ------
        int
            Number of the plane in the annotation set.
        float
            Mean Dice over its classes. Planes that were not embedded are left
            out, and all of them once the training is closed.
        """
        if self._best is None:
            return
        tokens = self._best[1]
        numbers = {id(example): i for i, example in enumerate(self.annotations.examples)}
        for example, planes in self._embedded.planes_to_score():
            if planes:
                found = [overlaps(plane, tokens, self.backbone) for plane in planes]
                whole = [sum_of(own) for own in zip(*found, strict=True)]
                yield numbers[id(example)], mean_dice([whole])

    def _origin(self, dice: float) -> Origin:
        return Origin(
            images=len(self.annotations.examples),
            held_out_images=len(self.held_out),
            steps=self.steps_done,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            held_out_dice=dice,
            measured_on_training=self._embedded.measured_on_training,
            start="a prompt" if self.start else "label or normal",
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={name: package_version(name) for name in ("napari-ptsam", "torch")},
        )

    def _run(self) -> Generator[Progress, None, None]:
        yield from self._embed()
        if not self._stopping:
            yield from self._train()

    def _train(self) -> Generator[Progress, None, None]:
        self._suitable = self._embedded.tiles
        if self.start is not None:
            first = torch.from_numpy(self.start.tokens.copy()).to(self.backbone.device)
            attempts, tried = [first], 0
            self._check(first)
        else:
            attempts, tried = yield from self._try_starts()
            if self._stopping:
                return
            self._top = 0.0  # what was tried for a few steps is no measure for the rest
        if tried or self.start is not None:
            begin = perf_counter()
            self._suitable = suitable_tiles(
                self.backbone.decoder, attempts[0], self._suitable, lambda: self._stopping
            )
            self.seconds["training"] += perf_counter() - begin
        for number, tokens in enumerate(attempts):
            note = "" if number == 0 else "The training had collapsed; going on from another start."
            if (yield from self._tune(tokens, tried, note)):
                dice = self._best[0] if self._best else None
                yield Progress("done", self.steps_done, self.steps_done, None, dice, 0.0)
                return
            if self._stopping:
                return
        raise CollapsedError(
            f"The training collapsed from {len(attempts)} different starts: it finds a class nowhere "
            "or everywhere. Look for wrong masks, add annotated planes, or try another tile size."
        )

    def _embed(self) -> Generator[Progress, None, None]:
        """Embed all tiles once."""
        begin, settings = perf_counter(), self.settings
        tiles, step_seconds = self._embedded.tiles, None
        for done, total in self._embedded.embed(self.backbone, settings.embeddings, settings.seed):
            if step_seconds is None and len(tiles) >= min(settings.batch_size, total):
                step_seconds = self._time_one_step()
            if self._draft is not None:
                self._draft.go_on()
            self.seconds["embedding"] = spent = perf_counter() - begin
            left = None
            if step_seconds is not None:
                left = spent / done * (total - done) + step_seconds * settings.steps
            yield Progress("embedding", done, total, seconds_left=left)
            if self._stopping:
                return

    def _time_one_step(self) -> float:
        tokens = self._start("label", torch.Generator().manual_seed(0)).requires_grad_()
        begin = perf_counter()
        batch = self._embedded.tiles[: self.settings.batch_size]
        class_losses(self.backbone.decoder, tokens, batch).sum().backward()
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
            upright = [tile for tile in self._embedded.tiles if tile.upright]
            yield from self._optimise(tokens, upright, steps, number * steps, late)
            if self._stopping:
                return [], 0
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
        for progress in self._optimise(tokens, self._suitable, steps, before, [], note):
            number = progress.step - before
            if number % interval == 0 or number == steps:
                assert self._tokens is not None
                found = self._check(self._tokens)
                fine |= found is not None and not found.collapsed
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
            if self._stopping:
                return

    def _check_at_last(self) -> None:
        """Measure what there is after a stop before the first check."""
        tokens = self.tokens
        if tokens is None or not self._embedded.tiles:
            return
        self._embedded.settle()
        self._stopping = False
        self._check(tokens)

    def _check(self, tokens: torch.Tensor) -> Measurement | None:
        planes, watched = self._embedded.measured, self._embedded.watched
        measurement = measure(planes, tokens, self.backbone, watched, lambda: self._stopping)
        if measurement is None:
            return None
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
