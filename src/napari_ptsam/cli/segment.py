"""The command ``segment``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ptsam.cli.inputs import Place, find_images
from napari_ptsam.cli.into_image import PlaceInImages
from napari_ptsam.cli.left_out import report_left_out
from napari_ptsam.cli.progress_bars import PlaneBar
from napari_ptsam.cli.remedies import CHANNELS
from napari_ptsam.cli.setting_options import options_given
from napari_ptsam.errors import InputError, InterruptedByUserError, framed
from napari_ptsam.images.addresses import Location
from napari_ptsam.images.reading import open_image
from napari_ptsam.inference.channels import fit_prompt
from napari_ptsam.inference.linking import LinkSettings
from napari_ptsam.inference.rescaling import differs, pixel_size_ratio, rescaled
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.prompts.files import load

if TYPE_CHECKING:
    from napari_ptsam.backbones.loading import Backbone
    from napari_ptsam.batch.result_files import FileResult, PlaneDone, WrittenResult
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.prompts.prompt import Prompt


def segment(options: Namespace) -> None:
    """Run ``napari-ptsam segment``.

    Raises
    ------
    PtsamError
        If inputs are left out; results of the others are written.
    """
    paths = [options.prompt, *options.also]
    prompts = [load(path) for path in paths]
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        raise InputError("Two of the prompts have the same name; rename one of the files.")
    run = _SegmentCommand(options, prompts, names)
    run.check()
    if run.masks:
        print(f"napari-ptsam: {_masks_left_out(run.masks)}", file=sys.stderr)
    written: list[dict[str, Any]] = []
    problems: list[str] = []
    for source in run.sources:
        try:
            files, left_out = run.segment(source)
        except InputError as error:
            problems.append(framed(error))
            continue
        problems += left_out
        written += files
    if options.json:
        classes = list(prompts[0].classes)
        print(json.dumps({"output": run.settings.output, "classes": classes, "files": written}))
    elif written and (options.measure or sys.stderr.isatty()):  # as progress bars, not for scripts
        print(_closing_sentence(written), file=sys.stderr)
    if len(problems) == 1 and not written:
        raise InputError(problems[0])
    report_left_out(problems, "the rest is written" if written else "nothing was written")


def _closing_sentence(written: Sequence[dict[str, Any]]) -> str:
    """Return how many images were segmented, and how many objects were found."""
    images = len({one["input"] for one in written})
    counts = [one["objects"] for one in written if one["objects"] is not None]
    sentence = f"{images} image{'s' * (images != 1)} segmented"
    if not counts:
        return f"{sentence}."
    return f"{sentence}: {sum(counts):,} object{'s' * (sum(counts) != 1)}."


def _masks_left_out(masks: Sequence[Path]) -> str:
    """Return which files are taken for masks."""
    names = ", ".join(path.name for path in masks[:3]) + (", ..." if len(masks) > 3 else "")
    what = "file is a mask" if len(masks) == 1 else "files are masks"
    return f"By their names, {len(masks)} {what} ({names}) and left out; name them to segment them, too."


class _SegmentCommand:
    """A run of the command; its options are checked without reading pixels."""

    def __init__(self, options: Namespace, prompts: list[Prompt], names: list[str]) -> None:
        self.options, self.prompts = options, prompts
        self.settings, self.link = result_settings(options), link_settings(options)
        self.masks: list[Path] = []
        self.sources = find_images(options.inputs, self.masks)
        if options.label_name is not None and not options.into_image:
            raise InputError("--label-name is the name of labels in an image; add --into-image.")
        self.place = (
            PlaceInImages(options, names)
            if options.into_image
            else Place(options, self.sources, names)
        )
        self._fitting = self._find_fitting()
        self.backbone: Backbone
        self._warned: set[str] = set()

    def _open(self, source: Location) -> Planes:
        planes = open_image(source, self.options.axes)
        if self.options.slices is None:
            return planes
        if not planes.stack_axis:
            raise InputError(f"{source} is a single plane; leave --slices out.")
        start, stop, _ = slice(*self.options.slices).indices(planes.stack_length)
        return planes.part(planes.stack_axis, start, stop)

    def _find_fitting(self) -> list[Location]:
        """Return the images that can be read, and whose channels suit the prompts.

        The others fail when they are segmented.

        Raises
        ------
        InputError
            If there are none.
        """
        fitting, problem = [], None
        for source in self.sources:
            try:
                self._fitted(self._open(source))
                fitting.append(source)
            except InputError as error:
                problem = problem or error
        if problem is not None and not fitting:
            raise problem
        return fitting

    def check(self) -> None:
        """Load the backbone, and make sure that all results can be written."""
        from napari_ptsam.batch.job import Job
        from napari_ptsam.inference.segment import Segmenter
        from napari_ptsam.prompts.backbone import backbone_of

        options, first = self.options, self.prompts[0]
        for prompt in self.prompts[1:]:
            if not first.belongs_to(prompt.backbone, prompt.signature):
                raise InputError(
                    "The prompts were tuned for different backbones; segment with one after the other."
                )
        self.backbone = backbone_of(first, options.checkpoint, options.device)
        for prompt in self.prompts:
            Segmenter(prompt, self.backbone, self.settings)  # fails before a folder is made
        self.place.prepare()
        images = {source.resolve() for source in self.sources if isinstance(source, Path)}
        for source in self._fitting:
            planes = self._open(source)
            parts = self._parts(source, planes)
            if any(part.target.resolve() in images for part in parts):
                raise InputError(
                    f"The result would replace the image {parts[0].target}; choose another name."
                )
            job = Job(planes, parts, self.link, options.resume, options.overwrite, options.measure)
            if all(job.finished) and not options.resume:
                print(
                    f"napari-ptsam: {job.results[0]} is the result of the same image, prompt and "
                    "settings already; it is kept.",
                    file=sys.stderr,
                )

    def _fitted(self, planes: Planes) -> list[tuple[Prompt, str]]:
        """Return the prompts fitted to the channels of an image, each with a warning or an empty text."""
        choice = self.options.channels
        return [fit_prompt(prompt, planes, choice, CHANNELS) for prompt in self.prompts]

    def _parts(self, source: Location, planes: Planes) -> list[FileResult]:
        from napari_ptsam.batch.result_files import FileResult
        from napari_ptsam.inference.segment import Segmenter

        parts = []
        for number, (prompt, _) in enumerate(self._fitted(planes)):
            if self.options.rescale:
                prompt = rescaled(prompt, planes.pixel_size)
            segmenter = Segmenter(prompt, self.backbone, self.settings)
            target = self.place.target(source, planes, number, segmenter)
            parts.append(FileResult(segmenter, target))
        return parts

    def segment(self, source: Location) -> tuple[list[dict[str, Any]], list[str]]:
        """Segment an image; return the files written, and why planes were left out."""
        from napari_ptsam.batch.measured_planes import table_path
        from napari_ptsam.batch.places import beside

        planes = self._open(source)
        self._warn(planes)
        parts = self._parts(source, planes)
        problems: list[str] = []
        count = 0
        results: dict[int, WrittenResult] = {}
        with PlaneBar(len(planes), planes.name) as bar:
            try:
                for plane in self._planes(planes, parts, results.__setitem__):
                    count = plane.done
                    bar.show(plane.done, plane.results is None and not plane.problem)
                    if plane.problem:
                        problems.append(framed(plane.problem))
            except KeyboardInterrupt:
                raise InterruptedByUserError(
                    f"Stopped; {count} of {len(planes)} planes of {planes.name} are kept in "
                    f"{beside(parts[0].target).name}.partial. The same command with --resume continues."
                ) from None
        files = []
        for _, result in sorted(results.items()):
            file = {
                "input": str(source),
                "output": str(result.path),
                "planes": len(planes),
                "left_out": len(problems),
                "objects": result.objects,
            }
            if result.measurements is not None:
                file["measurements"] = str(table_path(result.path))
            files.append(file)
            if not self.options.json:
                print(result.path)
        return files, problems

    def _planes(
        self,
        planes: Planes,
        parts: list[FileResult],
        on_written: Callable[[int, WrittenResult], object],
    ) -> Iterator[PlaneDone]:
        options = self.options
        how: dict[str, Any] = {
            "link": self.link, "resume": options.resume, "overwrite": options.overwrite,
            "measure": options.measure, "on_written": on_written,
        }  # fmt: skip
        if options.scheduler is None:
            from napari_ptsam.batch.result_files import segment_to_files

            return segment_to_files(planes, parts, **how)
        from napari_ptsam.batch.dask_cluster import segment_on_cluster

        return segment_on_cluster(
            planes, parts, options.scheduler, checkpoint=options.checkpoint,
            device=options.device, **how,
        )  # fmt: skip

    def _warn(self, planes: Planes) -> None:
        """Show notes of the reader, and warn, once for each kind, of another scale or channels."""
        for note in planes.notes:
            print(f"napari-ptsam: {note}", file=sys.stderr)
        for prompt, caution in self._fitted(planes):
            if caution:
                self._warn_once("channels", caution)
            ratio = pixel_size_ratio(prompt, planes.pixel_size)
            if ratio is not None and differs(ratio) and not self.options.rescale:
                self._warn_once(
                    "scale",
                    f"The pixels of {planes.name} are {1 / ratio:.3g} times as large as those that "
                    "the prompt was trained on; --rescale adapts the tiles.",
                )

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            print(f"napari-ptsam: {text}", file=sys.stderr)


def result_settings(options: Namespace) -> ResultSettings:
    """Return the settings of the results.

    Raises
    ------
    InputError
        If options contradict each other.
    """
    output = "labels"
    if options.instances:
        output = "instances"
    elif options.probabilities:
        output = "probabilities"
    if options.split is not None and output != "instances":
        raise InputError("--split says how objects are separated; it needs --instances.")
    settings = ResultSettings(**{"output": output, **options_given(options, ResultSettings)})
    if options.measure and output == "probabilities":
        raise InputError("Probabilities have no objects to measure; leave out --measure.")
    if settings.cleans and output == "probabilities":
        raise InputError(
            "Probabilities have no objects; leave out --min-size, --fill-holes and --remove-border."
        )
    return settings


def link_settings(options: Namespace) -> LinkSettings | None:
    """Return how objects are linked from plane to plane; None if they are not.

    Raises
    ------
    InputError
        If options contradict each other.
    """
    chosen = options_given(options, LinkSettings)
    if "threshold" not in chosen:
        if chosen:
            raise InputError("--link-gap is for linked planes; it needs --link-planes.")
        return None
    if not options.instances:
        raise InputError("Only instances can be linked from plane to plane; add --instances.")
    return LinkSettings(**chosen)
