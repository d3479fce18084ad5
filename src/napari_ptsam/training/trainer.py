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
from napari_ptsam.sam.memory import gpu_is_full, on_cpu
from napari_ptsam.training.attempts import Attempts, Run
from napari_ptsam.training.core_phase import CorePhase, core_steps
from napari_ptsam.training.draft import Draft
from napari_ptsam.training.embedding import EmbeddedTiles
from napari_ptsam.training.examples import AnnotationSet
from napari_ptsam.training.measuring import mean_dice, overlaps
from napari_ptsam.training.scale import image_settings
from napari_ptsam.training.settings import Progress, TrainingSettings
from napari_ptsam.training.split import split
from napari_ptsam.versions import package_version

if TYPE_CHECKING:
    from napari_ptsam.sam.backbones import Backbone

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
        self._wants_draft = draft and start is None
        self._begin()
        self._progress = self._steps()

    def _begin(self, note: str = "") -> None:
        """Everything anew, with the backbone as it is."""
        start, classes = self.start, len(self.annotations.classes)
        self._embedded = EmbeddedTiles(
            self.training, self.held_out, self.annotations.stacks, self.images, classes
        )
        self._run = Run(
            self.backbone,
            self.settings,
            classes,
            self._embedded,
            core_steps(self.settings, self.training),
        )
        first = None if start is None else self._given(start.tokens)
        self._attempts = Attempts(self._run, first, note)
        own = None if start is None or start.cores is None else self._given(start.cores)
        self._cores = CorePhase(self._run, self.training, own)
        self._draft = (
            Draft(self.backbone.decoder, classes, self._embedded.tiles)
            if self._wants_draft
            else None
        )

    def _given(self, tokens: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(tokens.copy()).to(self.backbone.device)

    def __iter__(self) -> Iterator[Progress]:
        return self._progress

    def stop(self) -> None:
        """Let the iteration end soon; may be called from any thread."""
        self._run.stopping = True

    def close(self) -> None:
        """Stop, and free the embedded tiles; the best prompt so far stays available.

        Cores that were being tuned, and that nobody asked for yet, are left out.
        """
        self._progress.close()
        if self._attempts.best is None:
            self._check_at_last()
        self._embedded.free()
        self._attempts.suitable, self._draft = [], None
        self._cores.forget()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent in each phase."""
        return self._run.seconds

    @property
    def steps(self) -> int:
        """Steps of the optimiser in all, those for the cores included."""
        return self._run.steps

    @property
    def steps_done(self) -> int:
        """Steps that the tokens of the classes were tuned for so far."""
        return self._attempts.steps_done

    @property
    def tokens(self) -> torch.Tensor | None:
        """Tokens as they are now: float32, shape (classes, 8, 256); None before there are any."""
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
        dice, tokens = self._attempts.best
        self._cores.settle()
        classes, start, cores = self.annotations.classes, self.start, self._cores.kept
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
            cores=None if cores is None else cores.cpu().numpy().astype(np.float32),
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
        if self._attempts.best is None:
            return
        tokens = self._attempts.best[1]
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

    def _steps(self) -> Generator[Progress, None, None]:
        """All of it; on the CPU, from the start, if the GPU has not enough memory for a tile."""
        try:
            yield from self._phases()
        except RuntimeError as error:
            if not gpu_is_full(error, self.backbone.device):
                raise
        else:
            return
        self._embedded.free()
        self.backbone = on_cpu(self.backbone)
        self._begin(TOO_SMALL)
        yield from self._phases()

    def _phases(self) -> Generator[Progress, None, None]:
        yield from self._embed()
        if self._run.stopping or not (yield from self._attempts.tune()):
            return
        assert self._attempts.best is not None
        dice, tokens = self._attempts.best
        done = self.steps_done
        if self._run.core_steps and not self._run.stopping:
            note = self._attempts.note
            before = Progress("training", done, self._run.steps, held_out_dice=dice, note=note)
            yield from self._cores.tune(tokens, self._attempts.suitable, before)
            done += self._cores.steps_done
        note = " ".join(filter(None, (self._attempts.note, self._cores.note)))
        yield Progress("done", done, done, None, dice, 0.0, note)

    def _embed(self) -> Generator[Progress, None, None]:
        """Embed all tiles once."""
        begin, settings = perf_counter(), self.settings
        tiles, step_seconds = self._embedded.tiles, None
        for done, total in self._embedded.embed(self.backbone, settings.embeddings, settings.seed):
            if step_seconds is None and len(tiles) >= min(settings.batch_size, total):
                step_seconds = self._attempts.time_one_step()
            if self._draft is not None:
                self._draft.go_on()
            self.seconds["embedding"] = spent = perf_counter() - begin
            left = None
            if step_seconds is not None:
                left = spent / done * (total - done) + step_seconds * self._run.steps
            yield Progress("embedding", done, total, seconds_left=left, note=self._attempts.note)
            if self._run.stopping:
                return

    def _check_at_last(self) -> None:
        """Measure what there is after a stop before the first check."""
        tokens = self.tokens
        if tokens is None or not self._embedded.tiles:
            return
        self._embedded.settle()
        self._run.stopping = False
        self._attempts.check(tokens)


def _check_start(start: Prompt, annotations: AnnotationSet, backbone: Backbone) -> None:
    start.check_backbone(backbone.name, backbone.signature)
    if start.classes != annotations.classes:
        raise InputError(
            f"The prompt to start from has the classes {', '.join(start.classes)}, the annotations "
            f"have {', '.join(annotations.classes)}; they must be the same."
        )
