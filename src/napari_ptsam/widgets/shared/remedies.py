"""The wording of remedies in the errors and notes of the widgets."""

from __future__ import annotations

from napari_ptsam.errors import Remedy, Term, Words, worded

FORM = Words(
    {
        Remedy.REPLACE: "Choose another name, or tick “Replace existing results”.",
        Remedy.RESUME_OR_REPLACE: "Tick “Resume an unfinished run” to continue it, or “Replace "
        "existing results” to start again.",
        Remedy.START_ANEW: "Tick “Replace existing results” to start again, or choose another "
        "folder.",
        Remedy.RESUME_AFTER_REPAIR: "Free some space or repair the disk, then run it again with "
        "“Resume an unfinished run” ticked.",
        Remedy.RESUME: "The other planes are kept; run it again with “Resume an unfinished run” "
        "ticked to continue with the missing ones.",
        Remedy.REPLACE_ON_RESUME: "Move it away and run it again with “Resume an unfinished "
        "run” ticked, or tick “Replace existing results” as well.",
        Remedy.ALLOW_MINUTES: "Allow the time to use them: choose the preset “thorough”, or set "
        "“Time” under “Advanced” to {minutes} minutes.",
        Remedy.NAME_AXES: "Choose a Labels layer that fits the image.",
        Remedy.NAME_UNLABELLED: "Paint over the negative labels, or erase them.",
        Remedy.NAME_BACKGROUND: "Choose which value is the background.",
        Remedy.MASK_VALUES: "If that is wrong, choose another reading.",
        Remedy.ALL_OBJECTS: "Choose a Labels layer, or save the mask again.",
        Remedy.EMPTY_MASKS: "Annotate it, or untick “Done” in its row of the table.",
        Remedy.NO_MARKERS: "Give each object a label of its own, or train without markers.",
        Remedy.SPLIT_COMPONENTS: "Train a prompt on objects with labels of their own, or choose "
        "“Connected pixels” for touching objects.",
        Remedy.INSTANCES: "Choose “Single objects” as the result.",
        Remedy.DEVICE: "Choose another device.",
        Remedy.BACKBONE: "Choose another file, or the base model {backbone}.",
        Remedy.CHECKPOINT: "Ask the author of the prompt for that checkpoint, and add it in the "
        "dialog “Base models…”.",
        Remedy.DOWNLOAD: "Download the base model {backbone} in the dialog “Base models…”.",
        Remedy.DOWNLOAD_AGAIN: "Remove it in the dialog “Base models…” and download it again.",
        Remedy.TAKE_NEW: "Press “Take the new one” to use the new one all the same.",
        Remedy.IMAGES_OF: "Choose the prompt whose settings are used, and check the result.",
    },
    setting="The setting {title}",
    terms={Term.BACKBONE: "base model", Term.BACKBONES: "base models"},
)


def in_form(message: object) -> str:
    """Return an error or a note in the words of the widgets."""
    return worded(message, FORM)
