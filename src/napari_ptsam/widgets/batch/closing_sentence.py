"""The sentences that close a run: what was segmented, how many objects there are, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ptsam.widgets.shared.qt_helpers import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ptsam.widgets.batch.task import BatchRequest, ImageTask


def closing_sentence(
    request: BatchRequest, seconds: float, stopped: bool = False, failure: str = ""
) -> str:
    """Return what a run has done.

    Parameters
    ----------
    request
        The request, whose tasks say how far they came.
    seconds
        Duration of the run.
    stopped
        Whether the user has stopped the run.
    failure
        The error that has ended the run; empty if there was none.
    """
    tasks = request.tasks
    finished = [task for task in tasks if task.finished and task.segmented]
    unfinished = [task for task in tasks if task.segmented and not task.finished]
    sentences = []
    if stopped or failure:
        outcome = "Failed, finished planes are kept" if failure else "Stopped"
        count = f"{_count(len(finished), 'image') if finished else 'no images'} segmented"
        sentences.append(f"{outcome}: {count}{_objects(finished)} in {format_duration(seconds)}.")
        sentences += [_kept(task, request) for task in unfinished]
        if failure:
            sentences.append(failure)
    else:
        segmented = [*finished, *unfinished]
        count = f"{len(segmented) or 'no'} image{'s' * (len(segmented) != 1)} segmented"
        outcome = "Done" if segmented or not _problems(tasks) else "Nothing done"
        sentences.append(f"{outcome}: {count}{_objects(segmented)} in {format_duration(seconds)}.")
        if problems := _problems(tasks):
            more = f" ({len(problems) - 1} more were left out too)" * (len(problems) > 1)
            sentences.append(problems[0].rstrip(".") + more + ".")
    if request.files is not None and finished:
        sentences.append(f"The files are in {request.files.folder}.")
    return " ".join(sentences)


def short_sentence(request: BatchRequest, sentence: str) -> str:
    """Return the sentence with names of files and folders in place of their paths."""
    if request.files is None:
        return sentence
    folder = request.files.folder
    inside = sentence.replace(f"{folder}/", "").replace(f"{folder}\\", "")
    return inside.replace(str(folder), folder.name or str(folder))


def _problems(tasks: Sequence[ImageTask]) -> list[str]:
    return [task.problem for task in tasks if task.problem]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _objects(tasks: Sequence[ImageTask]) -> str:
    """Return how many objects were found, with a comma in front; empty if they were not counted."""
    counts = [task.object_count for task in tasks if task.object_count is not None]
    if not counts:
        return ""
    kinds = {task.kind for task in tasks}
    nouns = {"volumes": "3D object", "tracks": "tracked object"}
    noun = nouns.get(kinds.pop(), "object") if len(kinds) == 1 else "object"
    return f", {_count(sum(counts), noun)},"


def _kept(task: ImageTask, request: BatchRequest) -> str:
    """Return how far an image has come, and where its planes are."""
    planes = f"{task.segmented} of {_count(len(task.planes), 'plane')} of {task.layer.name}"
    if request.files is None:
        return f"{planes} are segmented and kept."
    places = " and ".join(f"{target.name}.partial" for target in task.targets)
    return f"{planes} are kept in {places}; run again with “Resume an unfinished run” to continue."
