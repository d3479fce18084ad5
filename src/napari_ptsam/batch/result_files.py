"""Segment whole stacks into files, plane by plane, so that a run can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.batch.finishing import WrittenResult
from napari_ptsam.batch.formats import suffix_for
from napari_ptsam.batch.job import FileResult, Job, PlaneDone, plane_problem, written_path
from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.inference.shared_embedding import SharedSegmenter

__all__ = [
    "FileResult", "PlaneDone", "WrittenResult", "segment_to_files", "target_for", "written_path",
]  # fmt: skip


def target_for(
    folder: Path,
    planes: Planes,
    name: str,
    segmenter: Segmenter,
    format: str = "auto",
    prompt_name: str | None = None,
) -> Path:
    """Return the path of a result in a folder, such as ``NAME.tif`` or ``NAME.ome.zarr``.

    Parameters
    ----------
    folder
        Folder of the results.
    planes
        The image.
    name
        Name of the result, without an ending.
    segmenter
        Segmenter that computes the results of the planes.
    format
        A name in `napari_ptsam.batch.formats.FORMATS`, or ``auto``: a TIFF for
        ImageJ if the result fits into one (4 GB, axes t, z and c at most), else
        OME-Zarr.
    prompt_name
        Name of the prompt, if several prompts are applied. The result is then
        called ``NAME-PROMPT``.

    Raises
    ------
    OutputError
        If the image has more axes than the format.
    """
    name = name if prompt_name is None else f"{name}-{prompt_name}"
    return folder / f"{name}{suffix_for(planes, segmenter, format)}"


def segment_to_files(
    planes: Planes,
    parts: Sequence[FileResult],
    *,
    link: LinkSettings | None = None,
    resume: bool = False,
    overwrite: bool = False,
    measure: bool = False,
    on_written: Callable[[int, WrittenResult], object] | None = None,
) -> Generator[PlaneDone, None, None]:
    """Segment planes into files, one after the other; several prompts share the embeddings.

    Until the result is complete, finished planes are kept in ``<target>.partial``,
    also if the iterator is closed or the process is killed. The result does not
    depend on how often that happens. A result that the same image, prompt and
    settings have given before is kept, and its planes are yielded without results.

    Parameters
    ----------
    planes
        The image. Only one plane, and the next one, are in memory.
    parts
        The results to write.
    link
        Settings for linking objects along the last leading axis, so that they keep
        their numbers; None numbers each plane separately.
    resume
        Whether to continue an unfinished run of the same image, prompt and
        settings. If there is none, a new run starts.
    overwrite
        Whether to replace existing results, also those of the same run, once the new ones are complete, and to
        restart unfinished runs; with `resume`, only those of another image,
        prompt or settings.

    Returns
    -------
    Iterator[PlaneDone]
        One item for each plane; planes of an earlier run come first.

    Raises
    ------
    OutputError
        At once, if a target cannot be written, exists already, or has an
        unfinished run; during the run, if the disk is full.
    InputError
        If no plane can be segmented, in which case nothing is written, or if the
        settings contradict each other.
    """
    job = Job(planes, parts, link, resume, overwrite, measure, on_written)
    return _one_by_one(job)


def _one_by_one(job: Job) -> Generator[PlaneDone, None, None]:
    """Compute the planes in this process."""
    from napari_ptsam.inference.shared_embedding import SharedSegmenter

    shared = SharedSegmenter([part.segmenter for part in job.parts])
    with job.claimed():
        yield from _segment(job, shared)


def _segment(job: Job, shared: SharedSegmenter) -> Iterator[PlaneDone]:
    limits = [] if all(job.finished) else shared.limits(job.planes)
    todo = job.begin()
    remaining = set(todo)
    for number in range(len(job.planes)):
        if number not in remaining:
            yield job.report(number)
    for number, results in shared.planes(job.planes, todo, limits):
        if isinstance(results, InputError):
            yield job.report(number, problem=plane_problem(job.planes, number, results))
        else:
            job.keep(number, results)
            yield job.report(number, results)
    job.finish()
