"""Results of whole stacks in files, written plane by plane, so that a run can be gone on with."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ptsam.batch.formats import suffix_for
from napari_ptsam.batch.job import FileResult, Job, PlaneDone, plane_problem, written_path
from napari_ptsam.errors import InputError

if TYPE_CHECKING:
    from napari_ptsam.images.planes import Planes
    from napari_ptsam.inference.linking import LinkSettings
    from napari_ptsam.inference.segment import Segmenter
    from napari_ptsam.inference.shared_embedding import SharedSegmenter

__all__ = ["FileResult", "PlaneDone", "segment_to_files", "target_for", "written_path"]


def target_for(
    folder: Path,
    planes: Planes,
    name: str,
    segmenter: Segmenter,
    format: str = "auto",
    prompt_name: str | None = None,
) -> Path:
    """Where in a folder a result goes: ``NAME.tif``, ``NAME.ome.tif`` or ``NAME.ome.zarr``.

    Parameters
    ----------
    planes
        The image.
    name
        Of the result, without an ending.
    format
        ``auto`` is a TIFF for ImageJ where the result fits into one (4 GB, axes
        t, z and c at most), else OME-Zarr.
    prompt_name
        Where several prompts are applied: ``NAME-PROMPT`` with the ending.

    Raises
    ------
    OutputError
        If the image has more axes than the format knows.
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
) -> Generator[PlaneDone, None, None]:
    """Segment planes into files, one after the other; several prompts share the embedding.

    What is done is kept in ``<target>.partial`` until the result is whole, and
    stays there if the iterator is closed or the process killed. The result does
    not depend on how often that happened.

    Parameters
    ----------
    planes
        The image; a plane is in memory, and the next one that is being read.
    parts
        What to write where.
    link
        Objects keep their number along the last leading axis; None leaves each
        plane's own numbers.
    resume
        Go on with an unfinished run of the same image, prompt and settings. A
        result that such a run finished is left as it is: each of its planes is
        told of once, without results. Where nothing was begun, begin.
    overwrite
        Replace results that are there, once the new ones are whole, and start
        unfinished runs anew (with `resume`: those of another image, prompt or
        settings).

    Returns
    -------
    Iterator[PlaneDone]
        One for each plane: first those that were done before.

    Raises
    ------
    OutputError
        At once, if a target cannot be written, is there already, or has an
        unfinished run that must not be touched; midway, if the disk is full.
    InputError
        If no plane can be segmented (nothing is written then), or the settings
        do not fit together.
    """
    job = Job(planes, parts, link, resume, overwrite)
    return _one_by_one(job)


def _one_by_one(job: Job) -> Generator[PlaneDone, None, None]:
    """Compute planes in this process."""
    from napari_ptsam.inference.shared_embedding import SharedSegmenter

    shared = SharedSegmenter([part.segmenter for part in job.parts])
    with job.claimed():
        yield from _segment(job, shared)


def _segment(job: Job, shared: SharedSegmenter) -> Iterator[PlaneDone]:
    limits = [] if all(job.finished) else shared.limits(job.planes)
    todo = job.begin()
    left = set(todo)
    for number in range(len(job.planes)):
        if number not in left:
            yield job.report(number)
    for number, results in shared.planes(job.planes, todo, limits):
        if isinstance(results, InputError):
            yield job.report(number, problem=plane_problem(job.planes, number, results))
        else:
            job.keep(number, results)
            yield job.report(number, results)
    job.finish()
