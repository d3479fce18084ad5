"""The wording of messages on the command line."""

from __future__ import annotations

from napari_ptsam.errors import Remedy, Words, worded

COMMAND_LINE = Words(
    {
        Remedy.REPLACE: "Choose another name, or replace it with --overwrite.",
        Remedy.RESUME_OR_REPLACE: "Continue it with --resume, or start anew with --overwrite.",
        Remedy.START_ANEW: "Start anew with --overwrite, or choose another name.",
        Remedy.RESUME_AFTER_REPAIR: "Free some space or repair the disk, then run the same command "
        "with --resume.",
        Remedy.RESUME: "The other planes are kept; the same command with --resume continues with "
        "the missing ones.",
        Remedy.REPLACE_ON_RESUME: "Move it away and run the same command with --resume, or replace "
        "it with --resume --overwrite.",
        Remedy.ALLOW_MINUTES: "Allow the time to use them, with --preset thorough or --minutes "
        "{minutes}.",
        Remedy.NAME_AXES: "If the axes are wrong, name them, for instance with --axes CYX.",
        Remedy.NAME_UNLABELLED: "If {value} marks pixels that are not annotated, use --unlabelled "
        "{value}; if it is the background, use --background {value}.",
        Remedy.NAME_BACKGROUND: "If one of the values is the background, use --background VALUE.",
        Remedy.MASK_VALUES: "If that is wrong, use --background VALUE, --instances, or --classes "
        "NAME,NAME.",
        Remedy.ALL_OBJECTS: "If each value is an object all the same, use --instances.",
        Remedy.EMPTY_MASKS: "Draw what is missing, or say that such masks are background (--empty "
        "background) or are to be left out (--empty skip).",
        Remedy.NO_MARKERS: "Give each object a number of its own in the masks, or train without "
        "markers (--markers no).",
        Remedy.SPLIT_COMPONENTS: "Train a prompt on masks that tell objects apart, or take "
        "connected components (--split components).",
        Remedy.INSTANCES: "Add --instances.",
        Remedy.DEVICE: "Choose another device, for instance with --device cpu.",
        Remedy.BACKBONE: "Use --backbone {backbone}, or another file.",
        Remedy.CHECKPOINT: "Ask the prompt's maker for that checkpoint, and name it with "
        "--checkpoint FILE.",
        Remedy.DOWNLOAD: "Get it with “napari-ptsam backbones download {backbone}”.",
        Remedy.DOWNLOAD_AGAIN: "Remove it with “napari-ptsam backbones remove {backbone}” and "
        "download it again.",
        Remedy.TAKE_NEW: "Run the same command with --keep new to write the new one all the same.",
        Remedy.IMAGES_OF: "Choose the prompt whose settings are used with --images-of NUMBER, and "
        "check the result.",
    },
    setting="The option {option}",
)


CHANNELS = "--channels {}"
"""How messages of `napari_ptsam.inference.channels` tell to choose channels."""


def on_command_line(message: object) -> str:
    """Return an error or a note in the words of the command line."""
    return worded(message, COMMAND_LINE)
