"""Names of version 0.1.0 are accepted wherever a name is read, and shown nowhere."""

import copy
import pickle
import warnings
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_ptsam as ptsam
from conftest_cli import fails
from conftest_prompts import make
from fakes import FakeSegmenter, stack
from napari_ptsam.annotation.session import Session
from napari_ptsam.annotation.session_folder import SessionFolder
from napari_ptsam.batch.run_identity import describe_run
from napari_ptsam.cli.parser import build_parser
from napari_ptsam.cli.segment import result_settings
from napari_ptsam.cli.setting_options import options_given
from napari_ptsam.inference.result import ResultSettings
from napari_ptsam.prompts.files import load
from napari_ptsam.training.presets import training_settings
from napari_ptsam.training.settings import TrainingSettings

MARKERS = make().tokens * 2


# Python


def test_settings_of_a_training() -> None:
    with pytest.warns(DeprecationWarning, match="cores= is now called markers=") as told:
        settings = TrainingSettings(cores="no")
    assert told[0].filename == __file__ and len(told) == 1
    assert settings == TrainingSettings(markers="no")
    with pytest.warns(DeprecationWarning, match=r"\.cores is now called \.markers"):
        assert settings.cores == "no"
    with pytest.warns(DeprecationWarning) as told:
        assert replace(settings, cores="yes").markers == "yes"
    assert told[0].filename == __file__
    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(ptsam.InputError, match="markers is auto, yes or no, not 'maybe'"),
    ):
        TrainingSettings(cores="maybe")
    assert (
        "cores" not in {field.name for field in fields(TrainingSettings)} | asdict(settings).keys()
    )


def test_a_prompt() -> None:
    with pytest.warns(DeprecationWarning, match="cores= is now called markers=") as told:
        prompt = make(cores=MARKERS)
    assert len(told) == 1 and prompt.markers is MARKERS
    with pytest.warns(DeprecationWarning) as told:
        assert prompt.cores is MARKERS
    assert told[0].filename == __file__
    with pytest.warns(DeprecationWarning):
        assert replace(prompt, cores=None).markers is None
    with pytest.warns(DeprecationWarning):
        assert replace(make(), cores=MARKERS).markers is MARKERS
    with pytest.raises(AttributeError):
        prompt.cores = None


def test_how_instances_are_split() -> None:
    for options in ({"split": "cores"}, {"output": "instances", "split": "cores"}):
        with pytest.warns(DeprecationWarning, match="split='cores' is now called split='markers'"):
            assert ResultSettings(**options).split == "markers"
    with pytest.warns(DeprecationWarning):
        assert ResultSettings("instances", "cores").split == "markers"
    with pytest.warns(DeprecationWarning):
        assert replace(ResultSettings(), split="cores").split == "markers"
    with pytest.raises(ptsam.InputError, match="auto, markers or components, not 'corse'"):
        ResultSettings(split="corse")


def test_the_functions(nuclei, prompt, device) -> None:
    with (
        pytest.warns(DeprecationWarning, match="cores= is now") as told,
        pytest.raises(ptsam.InputError, match="markers is auto, yes or no"),
    ):
        ptsam.train(*nuclei, cores="maybe")
    assert told[0].filename == __file__
    with (
        pytest.warns(DeprecationWarning, match="split='cores' is now") as told,
        pytest.raises(ptsam.InputError, match="knows no markers"),
    ):
        ptsam.segment(nuclei[0][0], prompt, output="instances", split="cores", device=device)
    assert told[0].filename == __file__
    with pytest.raises(ptsam.InputError, match=r"Unknown setting corse; there are (?!.*cores)"):
        ptsam.train(*nuclei, corse="no")


def test_current_names_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prompt = replace(make(markers=MARKERS), markers=MARKERS)
        for same in (copy.deepcopy(prompt), pickle.loads(pickle.dumps(prompt))):
            assert np.array_equal(same.markers, MARKERS)
        settings = replace(TrainingSettings(markers="no"), seed=1)
        assert pickle.loads(pickle.dumps(settings)) == settings
        assert replace(ResultSettings(split="markers"), min_size=1).split == "markers"


# The command line


def parsed(*arguments: str):
    return build_parser().parse_args(arguments)


def test_the_command_line() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = parsed("train", "images", "masks", "--cores", "no")
        assert options_given(options, TrainingSettings) == {"markers": "no"}
        options = parsed(
            "segment", "a.pt", "a.tif", "-o", "b.tif", "--instances", "--split", "cores"
        )
        assert result_settings(options).split == "markers"


@pytest.mark.parametrize("command", ["train", "segment"])
def test_the_help_does_not_show_them(command: str, capsys) -> None:
    with pytest.raises(SystemExit):
        parsed(command, "--help")
    shown = capsys.readouterr().out
    assert "markers" in shown and "cores" not in shown


def test_wrong_values_are_declined(capsys) -> None:
    fails(capsys, "argument --cores: invalid choice: 'maybe'", "train", "a", "--cores", "maybe")
    fails(
        capsys, "invalid choice: 'corse'", "segment", "a.pt", "a.tif", "-o", "b", "--split", "corse"
    )


# Files


def test_a_session(tmp_path: Path) -> None:
    folder = SessionFolder.create(tmp_path, "cells")
    folder.write(Session(settings={"cores": "no", "seed": 3}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings = training_settings(folder.read().settings)
        assert (settings.markers, settings.seed) == ("no", 3)
        # The command line and the form add current names, which take precedence.
        for both in ({"cores": "no", "markers": "yes"}, {"markers": "yes", "cores": "no"}):
            assert training_settings(both).markers == "yes"
        assert training_settings({"cores": "no", "markers": None}).markers == "no"
        assert training_settings({"cores": None}).markers == "auto"
    with pytest.raises(ptsam.InputError, match="markers is auto, yes or no, not 3"):
        training_settings({"cores": 3})


def test_prompt_files_keep_their_key(tmp_path: Path) -> None:
    path = make(markers=MARKERS).save(tmp_path / "a.pt")
    plain = torch.load(path, weights_only=True)
    assert "markers" not in plain and np.array_equal(plain["cores"].numpy(), MARKERS)
    plain.pop("sealed", None)
    torch.save(plain | {"cores": torch.from_numpy(MARKERS * 2)}, tmp_path / "b.pt")
    assert np.array_equal(load(tmp_path / "b.pt").markers, MARKERS * 2)


def test_runs_keep_their_description() -> None:
    run = describe_run(stack(2), FakeSegmenter("instances", split="markers"), None, "")
    assert run["result settings"]["split"] == "cores"
    run = describe_run(stack(2), FakeSegmenter("instances"), None, "")
    assert run["result settings"]["split"] == "auto"
