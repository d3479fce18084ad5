"""Settings are declared once, and all else is made from the declaration."""

import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import Field

from napari_ptsam.errors import InputError
from napari_ptsam.io.declaration import Shown, declared, settings_of


@declared
@dataclass(frozen=True)
class Example:
    """Settings of every kind."""

    number: Annotated[float, Field(gt=0, le=1, title="Number", description="A number.")] = 0.5
    side: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"], Field(title="Side", description="A side.")
    ] = "auto"
    flag: Annotated[bool, Field(title="Flag", description="A flag."), Shown(option="")] = False


def test_a_declaration_is_checked_and_described() -> None:
    found = settings_of(Example)
    assert [each.expected for each in found.values()] == [
        "a number above 0 up to 1",
        "a whole number from 1 up, or auto",
        "True or False",
    ]
    assert [each.option for each in found.values()] == ["number", "side", ""]
    assert "number\n    A number." in str(Example.__doc__)
    made = Example(np.float32(0.25), side=np.int64(3))
    assert type(made.number) is float and type(made.side) is int
    assert replace(made, flag=True).flag and pickle.loads(pickle.dumps(made)) == made
    for wrong in ({"number": 0}, {"number": float("nan")}, {"number": True}, {"side": "3"},
                  {"side": 1.5}, {"flag": 1}, {"flag": None}):  # fmt: skip
        with pytest.raises(InputError, match=f"The setting {next(iter(wrong))} is "):
            Example(**wrong)
    with pytest.raises(InputError, match="The setting side is"):
        Example(0.5, "many")
    with pytest.raises(TypeError, match="no parameter 'size'"):
        Example(size=3)


def test_the_tables_in_the_docs_are_up_to_date() -> None:
    script = Path(__file__).parents[2] / "scripts" / "settings_tables.py"
    run = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
