"""Training: an iterator of progress that can be closed at any moment."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ptsam.backbones.gpu_memory import gpu_is_full, release_memory
from napari_ptsam.backbones.loading import on_cpu, with_encoder_tokens
from napari_ptsam.datasets.annotated_planes import AnnotationSet
from napari_ptsam.datasets.split import split
from napari_ptsam.errors import CollapsedError, InputError, joined
from napari_ptsam.evaluation.metrics import sum_of
from napari_ptsam.inference.channels import API
from napari_ptsam.training.channels import channels_seen
from napari_ptsam.training.embedding import EmbeddedTiles
from napari_ptsam.training.encoder_token_training import EncoderTokenTraining
from napari_ptsam.training.filter_choice import choose_refinement
from napari_ptsam.training.first_draft import FirstDraft
from napari_ptsam.training.flip_choice import choose_flips
from napari_ptsam.training.marker_training import MarkerTraining, marker_steps
from napari_ptsam.training.result import TrainedTokens, TrainingTask, prompt_of
from napari_ptsam.training.scale import image_settings
from napari_ptsam.training.settings import Progress, TrainingSettings
from napari_ptsam.training.token_training import TokenTraining, TrainingContext
from napari_ptsam.training.validation import mean_dice, overlaps

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.prompts.prompt import Prompt

TOO_SMALL = (
    "The GPU has not enough memory for this training, not even for one tile at a time; it has "
    "started anew on the CPU."
)


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
        A prompt to go on from; its classes, normalisation and tiles are kept, and
        its channels unless the settings name as many others.
    option
        How messages tell to choose channels, see `napari_ptsam.inference.channels`.
    draft
        Whether to tune a first draft while tiles are embedded, so that `tokens`
        has something to show early; what comes of the training is the same.

    Raises
    ------
    InputError
        If the start does not fit the annotation set, the images have different
        channels, or no plane is left to train on.
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
    ) -> None:
        self.settings = settings or TrainingSettings()
        self.backbone, self.annotations, self.start = backbone, annotations, start
        if start is not None:
            _check_start(start, annotations, backbone)
        self.training, self.held_out = split(
            annotations, self.settings.held_out, self.settings.seed
        )
        images = start.images if start else image_settings(annotations.examples, self.settings)
        self.images, self.channels, caution = channels_seen(
            annotations.stacks, images, self.settings.channels, start, option
        )
        self._wants_draft = draft and start is None
        self._stop = Event()
        self._begin(caution)
        self._progress = self._steps()

    def _begin(self, note: str = "") -> None:
        """Everything anew, with the backbone as it is."""
        start, classes = self.start, len(self.annotations.classes)
        self._embedded = EmbeddedTiles(
            self.training, self.held_out, self.annotations.stacks, self.images, classes
        )
        self._context = TrainingContext(
            self.backbone,
            self.settings,
            classes,
            self._embedded,
            marker_steps(self.settings, self.training),
            stop=self._stop,
        )
        if start is not None:
            self._context.backbone = with_encoder_tokens(self.backbone, start.encoder_tokens)
        self._refined_dice: float | None = None
        first = None if start is None else self._given(start.tokens)
        self._attempts = TokenTraining(self._context, first, note)
        own = None if start is None or start.cores is None else self._given(start.cores)
        self._encoder = EncoderTokenTraining(self._context)
        self._markers = MarkerTraining(self._context, own)
        self._draft = (
            FirstDraft(self.backbone.decoder, classes, self._embedded.tiles)
            if self._wants_draft
            else None
        )

    def _given(self, tokens: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(tokens.copy()).to(self.backbone.device)

    def __iter__(self) -> Iterator[Progress]:
        return self._progress

    def stop(self) -> None:
        """Let the iteration end soon; may be called from any thread."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and free the embedded tiles; the best prompt so far stays available.

        Cores that were being tuned, and that nobody asked for yet, are left out.
        """
        self._progress.close()
        if self._attempts.best is None:
            self._check_at_last()
        self._embedded.free()
        self._attempts.suitable, self._draft = [], None
        self._markers.forget()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent in each phase."""
        return self._context.seconds

    @property
    def steps(self) -> int:
        """Steps of the optimiser in all, those for the cores included."""
        return self._context.steps

    @property
    def steps_done(self) -> int:
        """Steps that the tokens of the classes were tuned for so far."""
        return self._attempts.steps_done

    @property
    def tokens(self) -> torch.Tensor | None:
        """Tokens as they are now: float32, shape (classes, 8, 256); None before there are any."""
        if self._encoder.kept is not None:
            return self._encoder.kept[1]
        if self._attempts.tokens is None and self._draft is not None:
            return self._draft.tokens
        return self._attempts.tokens

    @property
    def prompt(self) -> Prompt:
        """The best prompt so far.

        Raises
        ------
        CollapsedError
            If nothing has been learned yet that tells the classes apart.
        """
        if self._attempts.best is None:
            self._check_at_last()
        if self._attempts.best is None:
            raise CollapsedError(
                "The training was stopped before it had learned to tell the classes apart; "
                "let it run longer."
            )
        self._markers.settle()
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
        """What is best, once anything is."""
        assert self._attempts.best is not None
        dice, tokens = self._attempts.best
        encoder_tokens = self._context.backbone.encoder.tokens
        if self._encoder.kept is not None:
            dice, tokens, encoder_tokens = self._encoder.kept
        if self._refined_dice is not None:
            dice = self._refined_dice
        return TrainedTokens(
            dice, self._embedded.measured_on_training, self.steps_done, tokens, self._markers.kept,
            encoder_tokens, self._context.refinement, self._context.flips,
        )  # fmt: skip

    @property
    def sees(self) -> Backbone:
        """The backbone with the encoder tokens that `tokens` go with, if there are any."""
        return self._context.backbone

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
        if self._attempts.best is None:
            return
        tokens = self._best.tokens
        numbers = {id(example): i for i, example in enumerate(self.annotations.examples)}
        for example, planes in self._embedded.planes_to_score():
            if planes:
                found = [
                    overlaps(plane, tokens, self.backbone, self._context.refinement)
                    for plane in planes
                ]
                whole = [sum_of(own) for own in zip(*found, strict=True)]
                yield numbers[id(example)], mean_dice([whole])

    def _steps(self) -> Generator[Progress, None, None]:
        """All of it; on the CPU, from the start, if the GPU has not enough memory for a tile."""
        try:
            yield from self._run_stages()
        except RuntimeError as error:
            if not gpu_is_full(error, self.backbone.device):
                raise
        else:
            return
        gpu = self.backbone.device
        if self._stop.is_set() and self._attempts.best is not None:
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
        if self._context.stopping or not (yield from self._attempts.tune()):
            return
        suitable = self._attempts.suitable
        if self._context.encoder_steps and not self._context.stopping:
            best = self._best
            yield from self._encoder.tune(best.dice, best.tokens, suitable, self._now())
            if self._encoder.kept:
                suitable = self._embedded.tiles
        if not self._context.stopping:
            self._refine()
        if self.settings.flips == "auto" and not self._context.stopping:
            found = choose_flips(self._context, self._best.tokens, self._now())
            self._context.flips = yield from found
        if self._context.marker_steps and not self._context.stopping:
            yield from self._markers.tune(self._best.tokens, suitable, self._now())
        now = self._now()
        yield replace(now, phase="done", steps=now.step, seconds_left=0.0)

    def _refine(self) -> None:
        """Find out how logits follow the edges of images best."""
        tokens, embedded = self._best.tokens, self._embedded
        planes = [plane for own in embedded.planes_of_training() for plane in own]
        if not embedded.measured_on_training:
            planes += embedded.measured
        found = choose_refinement(planes, tokens, self._context.backbone, embedded.blank_planes())
        if found is not None:
            seen = [overlaps(plane, tokens, self.backbone, found) for plane in embedded.measured]
            self._context.refinement, self._refined_dice = found, mean_dice(seen)

    def _now(self) -> Progress:
        """Where it stands between two phases."""
        parts = self._attempts, self._encoder, self._markers
        done, note = sum(part.steps_done for part in parts), joined(part.note for part in parts)
        dice = self._best.dice
        return Progress("training", done, self._context.steps, held_out_dice=dice, note=note)

    def _embed(self) -> Generator[Progress, None, None]:
        """Embed all tiles once."""
        begin, settings = perf_counter(), self.settings
        tiles, step_seconds, backbone = self._embedded.tiles, None, self._context.backbone
        for done, total in self._embedded.embed(backbone, settings.embeddings, settings.seed):
            if step_seconds is None and len(tiles) >= min(settings.batch_size, total):
                step_seconds = self._attempts.time_one_step()
            if self._draft is not None:
                self._draft.go_on()
            self.seconds["embedding"] = spent = perf_counter() - begin
            left = None
            if step_seconds is not None:
                left = spent / done * (total - done) + step_seconds * self._context.steps
            yield Progress("embedding", done, total, seconds_left=left, note=self._attempts.note)
            if self._context.stopping:
                return
        self._encoder.decide(step_seconds or 0.0)

    def _check_at_last(self) -> None:
        """Measure what there is after a stop before the first check."""
        tokens = self.tokens
        if tokens is None or not self._embedded.tiles:
            return
        self._embedded.settle()
        self._attempts.check(tokens, at_last=True)


def _check_start(start: Prompt, annotations: AnnotationSet, backbone: Backbone) -> None:
    start.check_backbone(backbone.name, backbone.signature)
    if start.classes != annotations.classes:
        raise InputError(
            f"The prompt to start from has the classes {', '.join(start.classes)}, the annotations "
            f"have {', '.join(annotations.classes)}; they must be the same."
        )
