import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoneaxis.cli import main
from zoneaxis.scans.writing import write_scan

SILVER = """data_Ag
_cell_length_a 4.08
_cell_length_b 4.08
_cell_length_c 4.08
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_IT_number 225
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_B_iso_or_equiv
Ag1 Ag 0 0 0 1 0.7
"""


class Result:
    """What a run of the command line left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys):
    """Return a function that runs the command line in this process."""

    def call(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return Result(stop.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def fails(run):
    """Return a function that runs what must end in code 2 and one message with these words."""

    def call(words: str, *arguments: object) -> None:
        done = run(*arguments)
        assert done.code == 2, done.out + done.err
        assert done.err.startswith("Error: "), done.err
        assert done.err.count("\n") == 1, done.err
        assert words in done.err
        assert "Traceback" not in done.err

    return call


@pytest.fixture(scope="session")
def work(tmp_path_factory, tiny_dataset) -> Path:
    """The whole path at tiny size, up to two maps of one scan."""
    folder = tmp_path_factory.mktemp("cli")
    steps = (
        ("phantom", "--out", folder / "scan.hspy", "--rows", 8, "--columns", 10, "--grains", 3),
        ("build", "--preset", "test", "--out", tiny_dataset),  # it is there: nothing is left to do
        (
            *("train", "--data", tiny_dataset, "--out", folder / "model"),
            *("--model", "test_zoneaxis_polar", "--images", 64, "--batch-size", 16),
            *("--label-step-deg", 10),
        ),
        ("index", folder / "scan.hspy", "--model", folder / "model", "--out", folder / "n.ang"),
        ("match", folder / "scan.hspy", "--step-deg", 10, "--out", folder / "t.h5"),
    )
    for step in steps:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in step])
        assert not stop.value.code, step
    return folder


@pytest.fixture
def scan_of(work):
    """Return a function that writes patterns, shape (rows, cols, h, w), as a scan."""

    def write(path: Path, patterns: np.ndarray) -> Path:
        return write_scan(path, patterns, step_nm=1.0, inv_angstrom_per_pixel=0.025, title="test")

    return write


@pytest.fixture
def silver(tmp_path):
    """Return the CIF of a crystal that is not the usual one."""
    path = tmp_path / "Ag.cif"
    path.write_text(SILVER)
    return path


@pytest.fixture
def elsewhere():
    """Return a function that runs the command line in a process of its own."""

    def call(*arguments: object) -> subprocess.CompletedProcess:
        code = "from zoneaxis.cli import main; main()"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return call
