"""Maps as .h5: orix's HDF5, which orix reads, with a group of ours for what orix does not keep."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoneaxis.diffraction.crystal import Crystal
from zoneaxis.errors import CrystalError
from zoneaxis.scans import crystal_maps
from zoneaxis.scans.map_arrays import RESERVED, MapArrays
from zoneaxis.scans.map_phases import PhaseEntry, assign, without_sites

GROUP = "zoneaxis"


def write(path: Path, map: MapArrays) -> None:
    """Write everything, losslessly.

    Args:
        path: of the file.
        map: of any shape.
    """
    import h5py
    from orix import io

    io.save(str(path), crystal_maps.to_crystal_map(map))
    with h5py.File(path, "a") as file:
        group = file.create_group(GROUP)
        # orix's phases have no B factors, its angles go through quaternions, it drops axes of 1.
        group["crystals"] = json.dumps([crystal.to_dict() for crystal in map.crystals])
        group["euler_deg"] = map.euler_deg
        group["shape"] = map.score.shape
        group["step_nm"] = map.step_nm


def read(path: Path, given: Sequence[Crystal]) -> MapArrays:
    """Read a map of ours or of orix.

    Args:
        path: of the file.
        given: crystals instead of the file's own phases, as in `map_phases.assign`.

    Raises:
        MapError: no complete square grid, no phase, or another than those given.
    """
    import h5py
    from orix import io

    with h5py.File(path) as file:
        if GROUP in file:
            return _read_own(file, given)
    return crystal_maps.from_crystal_map(io.load(str(path)), given)


def _read_own(file: Any, given: Sequence[Crystal]) -> MapArrays:
    own = file[GROUP]
    shape = tuple(int(n) for n in own["shape"])
    data = {name: values[()] for name, values in file["crystal_map/data"].items()}
    if "euler_deg" in own:
        euler_deg = own["euler_deg"][()]
    else:  # files before maps of several phases
        euler_deg = np.rad2deg(np.stack([data[name] for name in ("phi1", "Phi", "phi2")], axis=-1))
    crystals = _stored_crystals(own)
    phase = np.where(data["phase_id"] == -1, -1, data["phase_id"] - 1).reshape(shape[:2])
    if given:
        entries = [
            PhaseEntry(i, crystal.name, crystal.cell, crystal.space_group)
            for i, crystal in enumerate(crystals)
        ]
        crystals, phase = assign(entries, phase, given)
    return MapArrays(
        crystals=crystals,
        euler_deg=euler_deg.reshape(*shape, 3),
        score=data["score"].reshape(shape),
        reliability=data["reliability"].reshape(shape[:2]),
        phase=phase.astype(np.int8),
        step_nm=float(own["step_nm"][()]),
        properties={
            name: values.reshape(shape[:2]) for name, values in data.items() if name not in RESERVED
        },
    )


def _stored_crystals(own: Any) -> tuple[Crystal, ...]:
    if "crystals" in own:
        stored = json.loads(own["crystals"].asstr()[()])
    else:  # files before maps of several phases
        stored = [json.loads(own["crystal"].asstr()[()])]
    return tuple(_crystal(values) for values in stored)


def _crystal(values: dict[str, Any]) -> Crystal:
    try:
        return Crystal.from_dict(values)
    except CrystalError:
        # A map read from .ang or .ctf knows its lattice only; it is no less of a map for that.
        return without_sites(values["name"], values["cell"], values["space_group"])
