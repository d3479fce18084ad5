"""Train a prompt, step by step: `Training` is an iterator that may be stopped at any moment."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.backbones.gpu_memory import gpu_is_full, release_memory
from napari_ptsam.backbones.loading import on_cpu, with_encoder_tokens
from napari_ptsam.datasets.annotated_planes import AnnotationSet
from napari_ptsam.datasets.missing import without_missing
from napari_ptsam.datasets.split import split
from napari_ptsam.errors import CollapsedError, InputError, joined
from napari_ptsam.inference.channels import API
from napari_ptsam.training.channels import training_channels
from napari_ptsam.training.comparison import Comparison, StartComparison
from napari_ptsam.training.continuation import continued_settings
from napari_ptsam.training.cross_validation import TokenCrossValidation
from napari_ptsam.training.detail_training import DetailTraining, detail_steps
from napari_ptsam.training.embedding import EmbeddedTiles
from napari_ptsam.training.encoder_token_training import EncoderTokenTraining
from napari_ptsam.training.first_draft import FirstDraft
from napari_ptsam.training.flip_choice import choose_flips
from napari_ptsam.training.marker_training import MarkerTraining, marker_steps
from napari_ptsam.training.plane_scores import PlaneScores
from napari_ptsam.training.result import TrainedTokens, TrainingTask, prompt_of
from napari_ptsam.training.scale import image_settings
from napari_ptsam.training.settings import Keep, Progress, TrainingSettings
from napari_ptsam.training.token_training import TokenTraining, TrainingContext

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.inference.detail import DetailCorrection
    from napari_ptsam.prompts.prompt import Prompt
    from napari_ptsam.training.tiles import TrainingTile

TOO_SMALL = (
    "The GPU has not enough memory for this training, not even for one tile at a time. It "
    "was started again on the CPU."
)


class Training:
    """A training of decoder tokens, and of encoder tokens if they help; SAM stays frozen.

    Iterating over the training runs it and yields `Progress`. At any moment you
    may stop iterating, or call `stop` from any thread. Then `prompt` is the best
    prompt so far, and `close` frees the memory. The method is that of Piater,
    Barz and Freytag, "Prompt-Tuning SAM", arXiv 2504.16739.

    Parameters
    ----------
    annotations
        Annotated planes to learn from.
    backbone
        Frozen SAM.
    settings
        Settings of the training; the defaults if None.
    start
        Prompt to continue from. Its classes, normalisation and tiles are kept;
        its channels too, unless the settings name other channels of the same number.
    draft
        Whether to tune a first draft while tiles are embedded, so that `tokens`
        can be shown early. The result of the training does not depend on it.
    option
        Wording of messages about the choice of channels, see
        `napari_ptsam.inference.channels`.
    keep
        ``better``: if the new prompt is worse than the start on the same planes,
        `prompt` is the start. ``new``: it is the new prompt in any case. A training
        that was stopped, or that uses other channels than the start, compares nothing.

    Attributes
    ----------
    training, held_out
        Annotated planes to train on, and those held out for validation.
    images
        Settings with which images are prepared.
    channels
        Channels that the images have in common; None if they differ.

    Raises
    ------
    InputError
        If the start does not fit the annotation set, if the images have
        different channels, or if no plane is left to train on.
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
        option: str = API,
        keep: Keep = "better",
    ) -> None:
        self.settings = settings or TrainingSettings()
        self.backbone, self.start = backbone, start
        self._keeps_choices = start is not None and self.settings.continuation == "quick"
        if start is not None:
            _check_start(start, annotations, backbone)
            if self._keeps_choices:
                self.settings = continued_settings(self.settings, start, len(annotations.examples))
        images = start.images if start else image_settings(annotations.examples, self.settings)
        self.images, self.channels, warning = training_channels(
            annotations.stacks, images, self.settings.channels, start, option
        )
        self.annotations = without_missing(annotations, self.images.channels)
        self.training, self.held_out = split(
            self.annotations, self.settings.held_out, self.settings.seed
        )
        self._wants_draft = draft and start is None
        self._compares = start is not None and keep == "better" and start.images == self.images
        self._stop = Event()
        self._begin(warning)
        self._progress = self._steps()

    def _begin(self, note: str = "") -> None:
        """Set up all parts of the training for the current backbone."""
        start, classes = self.start, len(self.annotations.classes)
        kept = start if self._keeps_choices else None
        heads = () if kept is None or self.settings.detail == "off" else kept.detail
        self._embedded = EmbeddedTiles(
            self.training,
            self.held_out,
            self.annotations.stacks,
            self.images,
            classes,
            self.settings.detail != "off",
        )
        self._context = TrainingContext(
            self.backbone,
            self.settings,
            classes,
            self._embedded,
            marker_steps(self.settings, self.training),
            detail_steps=detail_steps(self.settings, classes, heads),
            refinement=None if kept is None else kept.refinement,
            flips=() if kept is None else kept.flips,
            stop=self._stop,
        )
        if start is not None:
            self._context.backbone = with_encoder_tokens(self.backbone, start.encoder_tokens)
        first = None if start is None else self._on_device(start.tokens)
        self._token_training = TokenTraining(self._context, first, note)
        markers = None if start is None or start.markers is None else self._on_device(start.markers)
        self._encoder_training = EncoderTokenTraining(self._context)
        self._cross_validation = TokenCrossValidation(self._context)
        self._detail_training = DetailTraining(self._context, heads)
        self._context.corrections = self._detail_training.corrections
        self._scores = PlaneScores(self._context, self._cross_validation, self._detail_training)
        self._marker_training = MarkerTraining(self._context, markers)
        self._comparison = StartComparison(
            self._context, start if self._compares else None, len(self.annotations.examples)
        )
        self._draft = (
            FirstDraft(self.backbone.decoder, classes, self._embedded.tiles)
            if self._wants_draft
            else None
        )

    def _on_device(self, tokens: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(tokens.copy()).to(self.backbone.device)

    def __iter__(self) -> Iterator[Progress]:
        return self._progress

    def stop(self) -> None:
        """Ask the iteration to end soon. May be called from any thread."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and free the embedded tiles. The best prompt so far remains available.

        Markers whose tuning was interrupted are not part of it, unless `prompt`
        was read before.
        """
        self._progress.close()
        if self._token_training.best is None:
            self._check_at_last()
        self._embedded.free()
        self._detail_training.free()
        self._cross_validation.tokens = []
        self._token_training.suitable, self._draft = [], None
        self._marker_training.forget()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent embedding and training."""
        return self._context.seconds

    @property
    def steps(self) -> int:
        """Total number of optimiser steps, including those for encoder tokens and markers."""
        return self._context.steps

    @property
    def steps_done(self) -> int:
        """Number of optimiser steps taken so far for the class tokens."""
        return self._token_training.steps_done

    @property
    def tokens(self) -> torch.Tensor | None:
        """Current tokens: float32, shape (classes, 8, 256); None before tuning has begun."""
        if self._encoder_training.kept is not None:
            return self._encoder_training.kept[1]
        if self._token_training.tokens is None and self._draft is not None:
            return self._draft.tokens
        return self._token_training.tokens

    @property
    def comparison(self) -> Comparison | None:
        """The new prompt and the start on the same planes; None if they were not compared."""
        return self._comparison.measured

    @property
    def kept_start(self) -> Comparison | None:
        """How much worse the new prompt is than the start, which is kept; None if it is not."""
        return self._comparison.kept

    @property
    def prompt(self) -> Prompt:
        """The best prompt so far, or the start if that is better than the finished training.

        Raises
        ------
        CollapsedError
            See `new_prompt`.
        """
        if self.start is not None and self.kept_start is not None:
            return self.start
        return self.new_prompt

    @property
    def new_prompt(self) -> Prompt:
        """The best newly trained prompt so far, even if the start is better.

        Raises
        ------
        CollapsedError
            If no tokens have been found yet that tell the classes apart.
        """
        if self._token_training.best is None:
            self._check_at_last()
        if self._token_training.best is None:
            raise CollapsedError(
                "The training was stopped before it had learned to tell the classes apart; "
                "let it run longer."
            )
        self._marker_training.settle()
        return prompt_of(
            TrainingTask(
                self.annotations,
                self.settings,
                self.images,
                len(self.held_out),
                self.start,
                self.channels,
            ),
            self._best,
            self.backbone,
            self._embedded.measured,
        )

    @property
    def _best(self) -> TrainedTokens:
        """The best tokens so far; there must be some."""
        assert self._token_training.best is not None
        dice, tokens = self._token_training.best
        encoder_tokens = self._context.backbone.encoder.tokens
        if self._encoder_training.kept is not None:
            dice, tokens, encoder_tokens = self._encoder_training.kept
        if self._scores.dice is not None:
            dice = self._scores.dice
        return TrainedTokens(
            dice=dice,
            dice_error=self._scores.error,
            cross_validated=bool(self._cross_validation.tokens),
            measured_on_training=self._embedded.measured_on_training,
            steps=self.steps_done,
            tokens=tokens,
            markers=self._marker_training.kept,
            encoder_tokens=encoder_tokens,
            refinement=self._context.refinement,
            flips=self._context.flips,
            detail=self._detail_training.heads,
        )

    @property
    def corrections(self) -> Sequence[DetailCorrection | None]:
        """The detail head of each class, ready to correct logits; empty if there are none."""
        return self._context.corrections

    @property
    def prompted_backbone(self) -> Backbone:
        """The backbone that `tokens` belong to, with its encoder tokens if it has any."""
        return self._context.backbone

    def plane_scores(self) -> Iterator[tuple[int, float]]:
        """Compute the Dice of the best newly trained prompt on each annotated plane.

        See `napari_ptsam.training.plane_scores.PlaneScores`.

        Planes that were not embedded are left out, and so are all planes once
        the training is closed.

        Yields
        ------
        int
            Index of the plane in the annotation set.
        float
            Mean Dice over the plane's classes.
        """
        if self._token_training.best is None:
            return
        indices = {id(example): i for i, example in enumerate(self.annotations.examples)}
        for example, dice in self._scores.compute(self._best.tokens):
            yield indices[id(example)], dice

    def _steps(self) -> Generator[Progress, None, None]:
        """Run all stages, on the CPU from the start if the GPU has too little memory for a tile."""
        try:
            yield from self._run_stages()
        except RuntimeError as error:
            if not gpu_is_full(error, self.backbone.device):
                raise
        else:
            return
        gpu = self.backbone.device
        if self._stop.is_set() and self._token_training.best is not None:
            release_memory(gpu)
            return
        self._embedded.free()
        self.backbone = on_cpu(self.backbone)
        self._begin(TOO_SMALL)
        release_memory(gpu)
        if not self._stop.is_set():
            yield from self._run_stages()

    def _run_stages(self) -> Generator[Progress, None, None]:
        yield from self._embed()
        self._comparison.measure_start()
        if self._context.stopping or not (yield from self._token_training.tune()):
            return
        suitable = self._token_training.suitable
        if self._context.encoder_steps and not self._context.stopping:
            best = self._best
            yield from self._encoder_training.tune(best.dice, best.tokens, suitable, self._now())
            if self._encoder_training.kept:
                suitable = self._embedded.tiles
        if self._context.fold_steps and not self._context.stopping:
            yield from self._cross_validation.tune(suitable, self._now())
        if not self._context.stopping:
            yield from self._add_detail(suitable)
        if not self._context.stopping and self._keeps_choices:
            self._scores.keep_filter(self._best.tokens)
        elif not self._context.stopping:
            self._scores.choose_filter(self._best.tokens)
        if self.settings.flips == "auto" and not self._context.stopping:
            choice = choose_flips(self._context, self._best.tokens, self._now())
            self._context.flips = yield from choice
        if self._context.marker_steps and not self._context.stopping:
            yield from self._marker_training.tune(self._best.tokens, suitable, self._now())
        if self._compares and not self._context.stopping:
            unseen = self._detail_training.unseen_corrections
            self._comparison.compare(self._best.tokens, unseen)
        now = self._now()
        yield replace(now, phase="done", steps=now.step, seconds_left=0.0)

    def _add_detail(self, tiles: list[TrainingTile]) -> Generator[Progress, None, None]:
        """Train detail heads, unless they are switched off, and use those that help."""
        if self._context.detail_steps:
            yield from self._detail_training.tune(
                self._best.tokens, tiles, self._now(), self._cross_validation.tokens
            )
            self._context.corrections = self._detail_training.corrections

    def _now(self) -> Progress:
        """Return the progress between two stages."""
        parts = (
            self._token_training, self._encoder_training, self._cross_validation,
            self._detail_training, self._marker_training,
        )  # fmt: skip
        done, note = sum(part.steps_done for part in parts), joined(part.note for part in parts)
        dice = self._best.dice
        return Progress(
            "training", done, self._context.steps, held_out_dice=dice, note=note,
            refining_steps=self._context.refining_steps,
        )  # fmt: skip

    def _embed(self) -> Generator[Progress, None, None]:
        """Embed all tiles once, then decide about encoder tokens."""
        begin, settings = perf_counter(), self.settings
        tiles, step_seconds, backbone = self._embedded.tiles, None, self._context.backbone
        for done, total in self._embedded.embed(backbone, settings.embeddings, settings.seed):
            if step_seconds is None and len(tiles) >= min(settings.batch_size, total):
                paused = perf_counter()
                step_seconds = self._token_training.time_one_step()
                begin += perf_counter() - paused
            if self._draft is not None:
                self._draft.tune_a_little()
            self.seconds["embedding"] = spent = perf_counter() - begin
            seconds_left = None
            if step_seconds is not None:
                seconds_left = spent / done * (total - done) + step_seconds * self._context.steps
            yield Progress(
                "embedding", done, total, seconds_left=seconds_left, note=self._token_training.note,
                refining_steps=self._context.refining_steps,
            )  # fmt: skip
            if self._context.stopping:
                return
        self._encoder_training.decide(step_seconds or 0.0)
        if not self._keeps_choices:
            expected = self._encoder_training.expected_seconds(step_seconds or 0.0)
            self._cross_validation.decide(expected, step_seconds or 0.0)

    def _check_at_last(self) -> None:
        """Check the current tokens if the training was stopped before the first check."""
        tokens = self.tokens
        if tokens is None or not self._embedded.tiles:
            return
        self._embedded.settle()
        self._token_training.check(tokens, at_last=True)


def _check_start(start: Prompt, annotations: AnnotationSet, backbone: Backbone) -> None:
    start.check_backbone(backbone.name, backbone.signature)
    if start.classes != annotations.classes:
        raise InputError(
            f"The prompt to start from has the classes {', '.join(start.classes)}, the annotations "
            f"have {', '.join(annotations.classes)}; they must be the same."
        )
