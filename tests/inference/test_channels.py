"""Prompts on images with other channels than those that they were trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_ptsam as ptsam
from conftest_cli import complains, fails, run
from conftest_data import whole_plane
from conftest_prompts import make
from napari_ptsam.cli.remedies import CHANNELS
from napari_ptsam.errors import InputError, PtsamWarning
from napari_ptsam.images.channels import Channels, channels_of
from napari_ptsam.images.planes import Planes
from napari_ptsam.images.reading import open_image
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.inference.channels import fit_prompt
from napari_ptsam.prompts.describe import facts
from napari_ptsam.prompts.merging import merge
from napari_ptsam.prompts.text import from_text, to_text

GREY, RGB = Channels("grey", 1), Channels("rgb", 3)
TWO, THREE = Channels("composite", 2), Channels("composite", 3)


def prompt_of(trained: Channels | None, shown: tuple[int, ...] | None = None, **parts):
    images = ImageSettings(Tiling(64), channels=shown)
    return make(images=images, trained_channels=trained, **parts)


def image(count: int = 1, rgb: bool = False, names: tuple[str, ...] = ()) -> Planes:
    planes = Planes(np.zeros((32, 32, count), np.uint8), "YXS" if rgb else "YXC", "a.tif")
    planes.channel_names = names
    return planes


@pytest.mark.parametrize(
    ("planes", "expected"),
    [
        (image(), GREY), (image(2), TWO), (image(3, rgb=True), RGB), (image(4, rgb=True), RGB),
        (image(2, rgb=True), GREY), (image(2, names=("A", "B")), Channels("composite", 2, ("A", "B"))),
        (image(2, names=("A",)), TWO), (image(2, names=("", "")), TWO),
        (image(names=("x" * 99 + "\n",)), Channels("grey", 1, ("x" * 40,))),
    ],
)  # fmt: skip
def test_channels_of_an_image(planes, expected) -> None:
    assert channels_of(planes) == expected


@pytest.mark.parametrize(
    ("trained", "shown", "planes", "choice"),
    [
        (GREY, None, image(), None), (GREY, None, image(4), (3,)), (GREY, None, image(3, True), (1,)),
        (RGB, None, image(4, rgb=True), None), (TWO, None, image(2), None), (TWO, None, image(4), (3, 1)),
        (THREE, (1,), image(3), None), (THREE, (1,), image(), (0,)), (None, None, image(), None),
        (None, None, image(5), (4, 0)), (None, (1,), image(7), None), (RGB, None, image(3), (0, 1, 2)),
    ],
)  # fmt: skip
def test_what_fits_is_taken_without_a_word(trained, shown, planes, choice) -> None:
    prompt = prompt_of(trained, shown)
    fitted, caution = fit_prompt(prompt, planes, choice)
    assert caution == "" and fitted.images.channels == (shown if choice is None else choice)
    assert (fitted is prompt) == (choice is None)


@pytest.mark.parametrize(
    ("trained", "shown", "planes", "choice", "words"),
    [
        (GREY, None, image(2), None, "a.tif has 2 channels; the prompt was trained on grey images; "
         "choose one of them (--channels 0)."),
        (GREY, None, image(2, names=("DAPI", "GFP")), None, "has 2 channels (0: DAPI, 1: GFP);"),
        (GREY, None, image(4), None, "choose one of them (--channels 0)."),
        (GREY, None, image(4), (0, 1), "and channels 0, 1 shown; the prompt was trained on grey"),
        (TWO, None, image(3), None, "choose 2 of them (--channels 0,1)."),
        (TWO, None, image(), None, "is a grey image; the prompt was trained on images of 2 channels; "
         "use images that have so many channels."),
        (RGB, None, image(4), None, "the prompt was trained on RGB images; choose 3 of them"),
        (TWO, None, image(3, rgb=True), None, "is an RGB image; the prompt was trained on images of 2"),
        (THREE, (1,), image(), None, "trained on channel 1 of images of 3 channels; choose one "
         "(--channels 0)."),
        (THREE, (0, 2), image(), None, "use images that have so many"),
        (None, None, image(4), None, "takes three at most; choose up to three of them (--channels 0,1)"),
        (None, (0, 2), image(2), None, "the prompt takes channels 0, 2; choose 2"),
        (GREY, None, image(4), (4,), "a.tif: Channel 4 cannot be shown to the prompt: the image has 4"),
        (GREY, None, image(4), (-1,), "Channel -1 cannot be shown"),
        (GREY, None, image(4), (0, 1, 2, 3), "Choose one to three channels, not 4"),
        (GREY, None, image(4), (), "Choose one to three"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_declined(trained, shown, planes, choice, words) -> None:
    with pytest.raises(InputError) as error:
        fit_prompt(prompt_of(trained, shown), planes, choice, CHANNELS)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("trained", "shown", "planes", "words"),
    [
        (GREY, None, image(3, rgb=True), "is an RGB image; the prompt was trained on grey images. "
         "Choose one channel if its colours differ (channels=[0])."),
        (RGB, None, image(), "is a grey image; the prompt was trained on RGB images."),
        (RGB, None, image(3), "has 3 channels; the prompt was trained on RGB images."),
        (None, None, image(2), "the prompt does not tell what it was trained on; all of them are shown"),
        (THREE, (1,), image(4), "Look whether it is the same here, or choose (channels=[0])."),
        (Channels("composite", 2, ("DAPI", "")), (0,), image(2, names=("GFP", "dapi")),
         "Channel 0 of a.tif is GFP, and the prompt was trained on DAPI; look whether another one has "
         "to be chosen (channels=[1])."),
    ],
)  # fmt: skip
def test_what_may_not_fit_is_told(trained, shown, planes, words) -> None:
    prompt = prompt_of(trained, shown)
    fitted, caution = fit_prompt(prompt, planes)
    assert fitted is prompt and words in caution


@pytest.mark.parametrize(
    "trained", [None, GREY, RGB, Channels("composite", 3, ("DAPI", "", "GFP"))]
)
def test_it_travels_in_file_and_text(trained, tmp_path: Path) -> None:
    prompt = prompt_of(trained)
    assert ptsam.load(prompt.save(tmp_path / "a.pt")).trained_channels == trained
    assert from_text(to_text(prompt)).trained_channels == trained


def test_a_file_stays_small(tmp_path: Path) -> None:
    """What is known of the channels takes the room of a picture, if need be."""
    names = tuple(letter * 40 for letter in "äöü")
    longest = prompt_of(Channels("composite", 3, names))
    for room in (1250, 1080, 900):
        path = replace(longest, thumbnail=b"x" * 1200, notes="n" * (1450 - room)).save(
            tmp_path / f"{room}.pt"
        )
        assert path.stat().st_size <= 12 * 1024
        picture = ptsam.load(path).thumbnail
        assert not picture and ptsam.load(path).trained_channels == longest.trained_channels
    path = replace(prompt_of(GREY), thumbnail=b"x" * 1200, notes="n" * 20).save(tmp_path / "a.pt")
    assert path.stat().st_size <= 12 * 1024 and ptsam.load(path).thumbnail


def test_a_file_of_before_does_not_tell(tmp_path: Path) -> None:
    import torch

    path = prompt_of(GREY).save(tmp_path / "a.pt")
    plain = torch.load(path, weights_only=True)
    del plain["trained_channels"], plain["sealed"]
    torch.save(plain, path)
    assert ptsam.load(path).trained_channels is None


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "grey", "count": 2, "names": []}, {"kind": "cmyk", "count": 4, "names": []},
        {"kind": "composite", "count": 2, "names": ["A"]}, {"kind": "grey", "count": True, "names": []},
        {"kind": "grey", "count": 1, "names": ["x" * 41]}, {"kind": "grey", "count": 0, "names": []},
        {"kind": "grey", "count": 1}, 3, {"kind": "composite", "count": 2, "names": ["A", "\n"]},
    ],
)  # fmt: skip
def test_what_a_file_may_not_say(value, tmp_path: Path) -> None:
    import torch

    path = prompt_of(GREY).save(tmp_path / "a.pt")
    plain = torch.load(path, weights_only=True)
    del plain["sealed"]
    torch.save(plain | {"trained_channels": value}, path)
    with pytest.raises(ptsam.PromptFileError):
        ptsam.load(path)


def test_channels_in_words() -> None:
    named = Channels("composite", 2, ("DAPI", "GFP"))
    assert facts(prompt_of(named))["Channels"] == "images of 2 channels (DAPI, GFP)"
    assert (
        facts(prompt_of(named.named((1,)), (1,)))["Channels"] == "1 of images of 2 channels (GFP)"
    )
    assert facts(prompt_of(None))["Channels"] == "as they are"


def test_prompts_of_other_channels_are_not_merged_unasked() -> None:
    grey, rgb = prompt_of(GREY), replace(prompt_of(RGB), classes=("other",))
    prompts = [grey, rgb]
    with pytest.raises(InputError, match=r"1: .* grey images; 2: .* RGB images"):
        merge(prompts)
    assert merge(prompts, images_of=1).trained_channels == RGB


def test_names_come_from_files(tmp_path: Path) -> None:
    import zarr

    pixels = np.zeros((2, 32, 32), np.uint8)
    named = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=named)
    imagej = {"axes": "CYX", "Labels": ["DAPI", "GFP"]}
    tifffile.imwrite(tmp_path / "b.tif", pixels, imagej=True, metadata=imagej)
    group = zarr.open_group(tmp_path / "c.zarr", mode="w")
    group.create_array("0", data=pixels)
    axes = [{"name": name, "type": "space"} for name in "cyx"]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
    group.attrs["omero"] = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    for name in ("a.ome.tif", "b.tif", "c.zarr"):
        own = channels_of(open_image(tmp_path / name))
        assert own == Channels("composite", 2, ("DAPI", "GFP")), name
    tifffile.imwrite(
        tmp_path / "d.tif", pixels, imagej=True, metadata={"axes": "ZYX", "Labels": ["", ""]}
    )
    assert channels_of(open_image(tmp_path / "d.tif")) == GREY


@pytest.fixture(scope="module")
def grey(prompt):
    """The prompt of grey crops, which knows that."""
    assert prompt.trained_channels == GREY
    return prompt


@pytest.mark.usefixtures("loaded")
def test_a_channel_is_segmented_as_the_grey_image(grey, nuclei, device, tmp_path, capsys) -> None:
    own, other = nuclei[0][:2]
    wanted = ptsam.segment(own, grey, device=device)
    composite = np.stack([other, own, other, own], -1)
    found = ptsam.segment(composite, grey, axes="YXC", channels=[1], device=device)
    assert np.array_equal(found, wanted)
    with pytest.raises(InputError, match=r"choose one of them \(channels=\[0\]\)"):
        ptsam.segment(composite[..., :2], grey, axes="YXC", device=device)
    with pytest.raises(InputError, match="list of numbers"):
        ptsam.segment(composite, grey, axes="YXC", channels=["DAPI"], device=device)
    path, file = grey.save(tmp_path / "p.pt"), tmp_path / "c.tif"
    tifffile.imwrite(file, composite.transpose(2, 0, 1), imagej=True, metadata={"axes": "CYX"})
    fails(capsys, "(--channels 0)", "segment", path, file, "-o", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    run("segment", path, file, "-o", tmp_path / "o.tif", "--channels", "1", "--device", device)
    assert np.array_equal(tifffile.imread(tmp_path / "o.tif"), wanted)


@pytest.mark.usefixtures("loaded")
def test_a_real_image_in_colours_is_told_of(grey, device, tmp_path: Path, capsys) -> None:
    own = whole_plane()[0][:128, :128]
    colour = np.repeat((own // 16).astype(np.uint8)[..., None], 3, axis=-1)
    with pytest.warns(PtsamWarning, match="is an RGB image; the prompt was trained on grey"):
        found = ptsam.segment(colour, grey, device=device)
    assert np.array_equal(found, ptsam.segment(colour[..., 0], grey, device=device))
    path, folder = grey.save(tmp_path / "p.pt"), tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", colour, photometric="rgb")
    tifffile.imwrite(folder / "b.tif", np.stack([own, own]), imagej=True, metadata={"axes": "CYX"})
    (tmp_path / "out").mkdir()
    capsys.readouterr()
    assert run("segment", path, folder, "-o", tmp_path / "out", "--device", device) == 2
    err = capsys.readouterr().err
    assert "a.tif is an RGB image" in err and "b.tif has 2 channels" in err
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.tif"]


QUICK = {
    "steps": 8, "embeddings": 4, "batch_size": 2, "tile": "whole", "seed": 0, "markers": "no",
    "minutes": 0,
}  # fmt: skip


@pytest.mark.usefixtures("loaded")
def test_what_a_training_stores_and_compares(grey, nuclei, device, tmp_path, capsys) -> None:
    images, masks = nuclei[0][:3], nuclei[1][:3]
    composites = [np.stack([np.zeros_like(own), own], -1) for own in images]
    known = {"axes": "YXC", "device": device, **QUICK}
    with pytest.raises(InputError, match=r"trained on grey images; choose one .*channels=\[0\]"):
        ptsam.train(composites, masks, start=grey, **known)
    more = ptsam.train(composites, masks, start=grey, channels=[1], **known)
    assert more.images.channels == (1,) and more.trained_channels == TWO
    assert more.images.tiling == grey.images.tiling
    with pytest.raises(InputError, match="image 1 is one of images of 2 channels; choose the same"):
        ptsam.train([images[0][..., None], *composites[1:]], masks, **known)
    with pytest.raises(InputError, match=r"choose up to three of them \(channels=\[0,1\]\)"):
        ptsam.train([np.concatenate([own] * 2, -1) for own in composites], masks, **known)
    path, folders = grey.save(tmp_path / "p.pt"), [tmp_path / "i", tmp_path / "m"]
    for folder, arrays in zip(folders, (composites, masks), strict=True):
        folder.mkdir()
        for number, array in enumerate(arrays):
            tifffile.imwrite(
                folder / f"{number}.tif", np.moveaxis(array, 2, 0) if array.ndim > 2 else array
            )
    given = (*folders, "--axes", "CYX")
    complains(capsys, "(--channels 0)", "evaluate", path, *given)
    assert run("evaluate", path, *given, "--channels", "1", "--device", device) == 0
    complains(capsys, "(--channels 0)", "train", *given, "-o", tmp_path / "q.pt", "--start", path)


def test_a_prompt_whose_channels_were_replaced_is_not_compared() -> None:
    prompt = replace(prompt_of(TWO), images=ImageSettings(Tiling(64), channels=(3,)))
    assert fit_prompt(prompt, image(4)) == (prompt, "")
    assert prompt.describe() and facts(prompt)
