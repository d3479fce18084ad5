"""The prompt file: small, complete, and safe to open."""

import io
import os
import pickle
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_ptsam as ptsam
from conftest_prompts import head, make, same_heads
from napari_ptsam.images.channels import Channels
from napari_ptsam.images.guided_filter import Refinement
from napari_ptsam.images.normalize import Normalization
from napari_ptsam.images.planes import PixelSize
from napari_ptsam.images.settings import ImageSettings
from napari_ptsam.images.tiling import Tiling
from napari_ptsam.prompts.contents import KIND, VERSION, WITHOUT_DETAIL, to_plain
from napari_ptsam.prompts.files import load, save
from napari_ptsam.prompts.prompt import NAME_LIMIT, TEXT_LIMIT, Prompt


@pytest.mark.parametrize("classes", [1, 3])
def test_everything_comes_back(classes: int, tmp_path: Path) -> None:
    prompt = make(classes)
    prompt.save(tmp_path / "a.pt")
    found = ptsam.load(tmp_path / "a.pt")
    assert np.array_equal(found.tokens, prompt.tokens)
    for name in Prompt.__dataclass_fields__:
        assert name == "tokens" or getattr(found, name) == getattr(prompt, name)


def test_one_class_is_2048_parameters_in_at_most_12_kb(tmp_path: Path) -> None:
    prompt = replace(
        make(notes="n" * (TEXT_LIMIT - 100), licence="l" * 100), classes=("x" * NAME_LIMIT,)
    )
    path = prompt.save(tmp_path / "a_name_that_is_quite_long_and_says_what_the_prompt_is_for.pt")
    assert prompt.trained_parameters == 2048
    assert path.stat().st_size <= 12 * 1024


def test_a_trained_prompt_is_small_too(prompt: Prompt, tmp_path: Path) -> None:
    assert prompt.trained_parameters == 2048
    assert prompt.save(tmp_path / "a.pt").stat().st_size <= 12 * 1024


def test_markers_come_back_and_files_without_them_still_load(tmp_path: Path) -> None:
    markers = np.random.default_rng(1).normal(size=(2, 8, 256)).astype(np.float32)
    prompt = make(2, markers=markers)
    path = prompt.save(tmp_path / "a.pt")
    assert np.array_equal(load(path).markers, markers)
    assert load(path).trained_parameters == 2 * 2 * 2048
    plain = plain_of(make(2))
    assert "cores" not in plain  # nothing changes in the files of prompts without
    assert load(written(tmp_path, saved(plain))).markers is None


@pytest.mark.parametrize(
    "markers",
    [torch.zeros(1, 8, 256).double(), torch.zeros(2, 8, 256), torch.full((1, 8, 256), torch.nan),
     torch.zeros(1).expand(10**11, 8, 256), [0.0], "cores", torch.zeros(1, 256)],
    ids=["double", "classes", "nan", "huge", "list", "text", "flat"],
)  # fmt: skip
def test_damaged_markers_are_declined(markers, tmp_path: Path) -> None:
    with pytest.raises(ptsam.PromptFileError, match="damaged prompt file"):
        load(written(tmp_path, saved(plain_of(make(), cores=markers))))


@pytest.mark.parametrize("detail", [(head(),), (None, head(8, 0.25)), (head(1), head(14, 0.5, 1))])
def test_detail_heads_come_back(detail, tmp_path: Path) -> None:
    prompt = make(len(detail), detail=detail)
    path = prompt.save(tmp_path / "a.pt")
    assert same_heads(load(path), prompt)
    plain = torch.load(path, weights_only=True)
    assert plain["version"] == VERSION == 3
    numbers = [part["parameters"].dtype for part in plain["detail"] if part is not None]
    assert set(numbers) == {torch.float16}
    bare = replace(prompt, detail=())
    assert to_plain(bare, with_tokens=False) == to_plain(make(len(detail)), with_tokens=False)
    assert to_plain(bare).keys() == to_plain(make(len(detail))).keys()


def test_one_class_with_a_detail_head_takes_at_most_40_kb(tmp_path: Path) -> None:
    prompt = make(
        detail=(head(),), notes="n" * (TEXT_LIMIT - 100), licence="l" * 100,
        thumbnail=bytes(1200),
    )  # fmt: skip
    assert prompt.trained_parameters == 2048 + 12_111
    assert prompt.save(tmp_path / "a.pt").stat().st_size <= 40 * 1024
    assert np.array_equal(load(tmp_path / "a.pt").tokens, prompt.tokens)  # no bit is lost
    rounded = prompt.tokens.astype(np.float16).astype(np.float32)
    trained = replace(prompt, tokens=rounded, markers=rounded, notes="", licence="")
    path = trained.save(tmp_path / "b.pt")
    assert path.stat().st_size <= 38 * 1024
    assert load(path).tokens.dtype == np.float32 and np.array_equal(load(path).markers, rounded)


def test_former_versions_decline_a_detail_head_in_a_sentence(tmp_path: Path, monkeypatch) -> None:
    path = make(detail=(head(),)).save(tmp_path / "a.pt")
    monkeypatch.setattr("napari_ptsam.prompts.files.VERSION", 2)
    with pytest.raises(ptsam.PromptFileError, match=r"newer napari-ptsam \(format 3, .*update"):
        load(path)


GOOD = {"width": 14, "share": 1.0, "parameters": torch.zeros(12_111).half()}
BAD: dict[str, object] = {
    "empty": [],
    "all none": [None],
    "text": "detail",
    "tensor": torch.zeros(12_111).half(),
    "number": [1],
    "classes": [GOOD, GOOD],
    "many": [None] * 10_000 + [GOOD],
    "no width": [{"share": 1.0, "parameters": GOOD["parameters"]}],
    **{f"width {width!r}": [GOOD | {"width": width}] for width in (0, 8, 17, 10**30, 16.0, True, None)},
    **{
        f"share {share!r}": [GOOD | {"share": share}]
        for share in (0, -1, 1.5, 10**400, True, "1", None, float("nan"), float("inf"))
    },
    **{
        f"parameters {number}": [GOOD | {"parameters": parameters}]
        for number, parameters in enumerate([
            None, [0.0] * 12_111, torch.zeros(12_111), torch.zeros(12_110).half(),
            torch.zeros(1, 12_111).half(), torch.full((12_111,), torch.nan).half(),
            torch.full((12_111,), torch.inf).half(), torch.zeros(1).half().expand(10**12),
            torch.zeros(12_111).half().to_sparse(), torch.zeros(12_111).bfloat16(),
        ])
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_damaged_detail_heads_are_declined(kind: str, tmp_path: Path) -> None:
    assert load(written(tmp_path, saved(plain_of(make(), detail=[GOOD])))).detail[0].share == 1
    with pytest.raises(ptsam.PromptFileError, match="damaged prompt file"):
        load(written(tmp_path, saved(plain_of(make(), detail=BAD[kind]))))


def test_it_is_one_plain_dict(tmp_path: Path) -> None:
    make().save(tmp_path / "a.pt")
    plain = torch.load(tmp_path / "a.pt", weights_only=True)
    assert plain["kind"] == KIND and plain["version"] == WITHOUT_DETAIL == 2
    assert "detail" not in plain
    assert plain["tokens"].dtype == torch.float32 and plain["tokens"].shape == (1, 8, 256)


def test_numpy_values_are_saved_as_plain_numbers(tmp_path: Path) -> None:
    images = ImageSettings(
        Tiling(np.int64(128)), Normalization("range", np.float32(3), np.uint16(9)), (np.int64(1),)
    )
    path = make(images=images, pixel_size=PixelSize(np.float32(1), np.float64(2))).save(
        tmp_path / "a.pt"
    )
    assert load(path).images == images


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ptsam.InputError, match="finite number"):
        make(pixel_size=PixelSize(1.0, 1.0, float("nan"))).save(tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


def test_hostile_shapes_are_not_unfolded(tmp_path: Path) -> None:
    for tokens in (torch.zeros(1).expand(10**11, 8, 256), torch.zeros(1).expand(1, 8, 10**11)):
        with pytest.raises(ptsam.PromptFileError, match="of shape"):
            load(written(tmp_path, saved(plain_of(make(), tokens=tokens))))


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = make().save(tmp_path / "a.pt")
    before = path.read_bytes()
    with pytest.raises(ptsam.OutputError, match="exists and is kept"):
        make(2).save(path)
    assert path.read_bytes() == before
    make(2).save(path, overwrite=True)
    assert len(load(path).classes) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    return path


def saved(plain: object) -> bytes:
    data = io.BytesIO()
    torch.save(plain, data)
    return data.getvalue()


def plain_of(prompt: Prompt, **changes) -> dict:
    return to_plain(prompt) | {"tokens": torch.from_numpy(prompt.tokens)} | changes


def test_hostile_pickles_do_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for content in (saved(Hostile(mark)), saved(plain_of(make(), notes=Hostile(mark)))):
        with pytest.raises(ptsam.PromptFileError, match="it was not run"):
            load(written(tmp_path, content))
    with pytest.raises(ptsam.PromptFileError, match="no prompt file"):
        load(written(tmp_path, pickle.dumps(Hostile(mark))))
    assert not mark.exists()


def test_truncated_at_every_length(tmp_path: Path) -> None:
    data = saved(plain_of(make()))
    for length in range(1, len(data), 97):
        with pytest.raises(ptsam.PromptFileError):
            load(written(tmp_path, data[:length]))


def test_flipped_bytes_are_noticed_or_harmless(tmp_path: Path) -> None:
    data, reference = saved(plain_of(make())), make()
    for place in range(0, len(data), 61):
        damaged = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        try:
            found = load(written(tmp_path, damaged))
        except ptsam.PromptFileError:
            continue
        # A byte that nothing is read from, such as a date in the archive.
        assert np.array_equal(found.tokens, reference.tokens)
        assert found.describe() == reference.describe()


def bomb() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**25))
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "no prompt file"),
        (b"PK\x03\x04 and no more", "truncated or damaged"),
        (bomb(), "unpack to a huge size"),
        (saved({"fc.weight": torch.zeros(3)}), "of another kind"),
        (saved([1, 2]), "of another kind"),
        (saved(plain_of(make(), version=VERSION + 1)), "newer napari-ptsam"),
        (saved(plain_of(make(), version="1")), "no valid version"),
        (saved(plain_of(make(), tokens=torch.zeros(1, 8, 255))), r"of shape \(1, 8, 255\)"),
        (saved(plain_of(make(), tokens=torch.zeros(1, 8, 256).double())), "no float32 tensor"),
        (saved(plain_of(make(), tokens=torch.full((1, 8, 256), float("nan")))), "NaN"),
        (saved(plain_of(make(), tokens=[1, 2])), "no float32 tensor"),
        (saved(plain_of(make(), classes=["a", "b"])), "for 2 classes"),
        (saved(plain_of(make(), classes="a")), "a list was expected"),
        (saved(plain_of(make(), classes=[3])), "text was expected"),
        (saved(plain_of(make(), colours=["red"])), "#RRGGBB"),
        (saved(plain_of(make(), channels=[0, "1"])), "whole number"),
        (saved(plain_of(make(), tile={"side": 3, "whole": False, "overlap": 0.1})), "at least 16"),
        (saved(plain_of(make(), normalization={"mode": "x", "low": 0, "high": 1})), "the value of 'mode' in normalization is not known"),
        (saved({k: v for k, v in plain_of(make()).items() if k != "origin"}), "'origin' is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # files hold the time
)  # fmt: skip
def test_one_sentence_for_every_damage(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ptsam.PromptFileError, match=message) as raised:
        load(written(tmp_path, content))
    assert "bad.pt" in str(raised.value) and "\n" not in str(raised.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(ptsam.PromptFileError, match="no prompt file"):
            load(path)


def test_other_backbones_are_noticed() -> None:
    own = r"tuned for the backbone vit_t \(signature 0123456789abcdef\), and this is "
    with pytest.raises(ptsam.PromptFileError, match=own + "vit_b"):
        make().check_backbone("vit_b", "0123456789abcdef")
    with pytest.raises(
        ptsam.PromptFileError, match=own + r"vit_t \(signature f*\). Ask the prompt"
    ):
        make().check_backbone("vit_t", "f" * 16)
    known = make(weights="vit_t_lm")
    with pytest.raises(
        ptsam.PromptFileError, match=r"backbone vit_t_lm \(.* backbones download vit_t_lm"
    ):
        known.check_backbone("vit_t", "f" * 16)


def test_senseless_prompts_are_refused() -> None:
    for changes in (
        {"notes": "x" * (TEXT_LIMIT + 1)}, {"classes": ("",)}, {"classes": ("x" * 61,)},
        {"colours": ()}, {"tokens": np.zeros((1, 8, 256))},
    ):  # fmt: skip
        with pytest.raises(ptsam.InputError):
            replace(make(), **changes)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(ptsam.OutputError, match="no folder"):
        save(make(), tmp_path / "none" / "a.pt")
    with pytest.raises(ptsam.OutputError, match="is a folder"):
        save(make(), tmp_path)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    from napari_ptsam.io.writing import replacing

    with (
        pytest.raises(ptsam.OutputError, match="no space left"),
        replacing(tmp_path / "a.pt"),
        full.open("wb", buffering=0) as file,
    ):
        file.write(b"x")
    assert not list(tmp_path.iterdir())


def test_description(tmp_path: Path) -> None:
    from napari_ptsam.prompts.describe import describe

    text = describe(make(), make().save(tmp_path / "a.pt"))
    for part in ("class 0", "vit_t", "2,048", "16 annotated planes, 3 for validation", "0.910",
                 "tiles of 371 px", "3.5 to 200", "0, 2", "0.65 x 0.65 micrometer", "Präparat 7"):  # fmt: skip
        assert part in text
    assert make().describe()["trained_parameters"] == 2048
    assert "not split" in text
    described = describe(make(markers=make().tokens))
    assert "split by their markers" in described and "4,096" in described
    assert "Fine detail" not in described
    described = describe(make(detail=(head(),)))
    assert "labels are refined at full strength" in described
    assert "14,159 trained, 12,111 of them in fine detail" in described
    described = describe(make(2, detail=(None, head(8, 0.25))))
    assert "class 0 not at all, class 1 at a quarter of the strength" in described


def test_the_documentation_names_every_key_of_a_file(tmp_path: Path) -> None:
    whole = make(
        markers=make().tokens, encoder_tokens=(np.ones((8, 160), np.float32),), flips=("x",),
        refinement=Refinement(4, 0.01), thumbnail=b"x", trained_channels=Channels("composite", 3),
        detail=(head(4),),
    )  # fmt: skip
    written = torch.load(whole.save(tmp_path / "a.pt"), weights_only=True)
    page = Path(__file__).parents[2] / "docs" / "prompt-file.md"
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    described = {key: text for keys, text in rows for key in re.findall(r"`(\w+)`", keys)}
    assert set(described) == set(written)
    for key, value in written.items():  # the parts of a part, too
        for part in value if isinstance(value, dict) else ():
            assert f"`{part}`" in described[key], f"{part} of {key}"
