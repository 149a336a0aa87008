import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from zoneaxis.dataset_builder.recipe import read_recipe
from zoneaxis.dataset_builder.schema import decode
from zoneaxis.dataset_builder.transforms import CRYSTAL, Augmentation, Transform
from zoneaxis.diffraction.orientations import (
    beam_directions,
    matrices_from_euler,
    misorientation_deg,
)
from zoneaxis.errors import DatasetError

NOTHING = replace(Augmentation.off(), random_crop=True)
EVERYTHING = replace(Augmentation(), pixel=(1, 1), second_grain_probability=0.5, hot_pixels=(0, 5))


@pytest.fixture(scope="module")
def rows(tiny_dataset, tmp_path_factory):
    """The training rows as `datasets` opens them, map-style and as a stream."""
    from datasets import load_dataset

    files = {"train": str(tiny_dataset / "patterns" / "train-*.parquet")}
    cache = str(tmp_path_factory.mktemp("datasets"))

    def opened(streaming: bool):
        return load_dataset(
            "parquet", data_files=files, split="train", streaming=streaming, cache_dir=cache
        )

    return opened


@pytest.fixture(scope="module")
def transform(tiny_dataset) -> Transform:
    return Transform.of_recipe(read_recipe(tiny_dataset), EVERYTHING, seed=4)


def same(first: dict, second: dict) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_nothing_is_decoding(rows, transform):
    batch = rows(False)[:6]
    out = replace(transform, augmentation=NOTHING)(batch)
    levels = np.stack([np.asarray(image) for image in batch["image"]])
    torch.testing.assert_close(out["pattern"], torch.from_numpy(decode(levels)))
    euler = np.stack([batch[name] for name in ("phi1_deg", "Phi_deg", "phi2_deg")], axis=1)
    given, found = (matrices_from_euler(e) for e in (euler, out["euler_deg"].numpy()))
    assert misorientation_deg(found, given, np.eye(3)[None]).max() < 0.05
    assert out["direction_id"].tolist() == batch["direction_id"]
    assert out["thickness_nm"].tolist() == batch["thickness_nm"]
    assert out["inv_angstrom_per_pixel"].tolist() == pytest.approx([0.1] * 6)


def test_shapes_and_types(rows, transform):
    out = transform(rows(False)[:6])
    kinds = {
        "pattern": (torch.float32, (6, 32, 32)),
        "euler_deg": (torch.float32, (6, 3)),
        "matrix": (torch.float32, (6, 3, 3)),
        "kind": (torch.int64, (6,)),
        "grain_share": (torch.float32, (6,)),
        "camera_scale": (torch.float32, (6,)),
        "center_inv_angstrom": (torch.float32, (6, 2)),
        "amorphous_share": (torch.float32, (6,)),
        "thickness_nm": (torch.float32, (6,)),
        "direction_id": (torch.int64, (6,)),
        "inv_angstrom_per_pixel": (torch.float32, (6,)),
    }
    assert {name: (v.dtype, tuple(v.shape)) for name, v in out.items()} == kinds


def test_labels_turn_with_the_pattern(rows, transform):
    """In-plane rotation keeps Phi and phi2, the beam direction, and changes phi1."""
    batch = rows(False)[:6]
    out = replace(transform, augmentation=replace(NOTHING, rotate=True))(batch)
    given = np.stack([batch[name] for name in ("phi1_deg", "Phi_deg", "phi2_deg")], axis=1)
    found = out["euler_deg"].numpy()
    np.testing.assert_allclose(beam_directions(found), beam_directions(given), atol=1e-5)
    assert np.ptp((found - given)[:, 0]) > 10
    np.testing.assert_allclose(matrices_from_euler(found), out["matrix"], atol=1e-5)


def test_seed_epoch_and_rows_decide(rows, transform):
    batch, others = rows(False)[:6], rows(False)[6:12]
    assert same(transform(batch), transform(batch))
    assert same(transform(batch), pickle.loads(pickle.dumps(transform))(batch))
    for other in (replace(transform, seed=5), replace(transform, epoch=1)):
        assert not torch.equal(other(batch)["pattern"], transform(batch)["pattern"])
    mixed = {**batch, "direction_id": others["direction_id"]}
    assert not torch.equal(transform(mixed)["pattern"], transform(batch)["pattern"])


@pytest.mark.parametrize("form", [list, np.stack, lambda i: torch.from_numpy(np.stack(i))])
def test_arrays_and_tensors_do_as_well_as_images(rows, transform, form):
    batch = rows(False)[:6]
    levels = [np.asarray(image).astype(np.uint16) for image in batch["image"]]
    arrays = {name: np.asarray(v) for name, v in batch.items() if name != "image"}
    assert same(transform({**arrays, "image": form(levels)}), transform(batch))


def test_with_transform_gives_what_the_call_gives(rows, transform):
    dataset = rows(False)
    assert same(dataset.with_transform(transform)[4:10], transform(dataset[4:10]))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_gives_the_same_in_any_process(rows, transform, workers):
    stream = rows(True)
    mapped = stream.map(transform, batched=True, batch_size=8, remove_columns=stream.column_names)
    found = next(iter(torch.utils.data.DataLoader(mapped, batch_size=8, num_workers=workers)))
    assert same(found, transform(rows(False)[:8]))


def test_a_data_loader_reads_map_style_rows_in_workers(rows, transform):
    dataset = rows(False).with_transform(transform)
    none, two = (
        list(torch.utils.data.DataLoader(dataset, batch_size=8, num_workers=n)) for n in (0, 2)
    )
    assert len(none) == len(two) > 3
    assert all(same(a, b) for a, b in zip(none, two, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_draws_the_same(rows, transform):
    batch = rows(False)[:6]
    levels = torch.from_numpy(np.stack([np.asarray(image) for image in batch["image"]]))
    settings = replace(EVERYTHING, counts=None, ellipse=(1, 1.1), beam_stop_probability=0.5)
    for augmentation in (settings, Augmentation.paper()):
        t = replace(transform, augmentation=augmentation)
        ours, theirs = t({**batch, "image": levels}), t({**batch, "image": levels.cuda()})
        assert {value.device.type for value in theirs.values()} == {"cuda"}
        for name, value in ours.items():
            torch.testing.assert_close(theirs[name].cpu(), value, atol=1e-4, rtol=1e-3)


def test_a_scan_has_no_thickness(rows, transform):
    batch = {**rows(False)[:6], "thickness_nm": [None] * 6}
    out = transform(batch)
    assert out["thickness_nm"].isnan().all()
    assert (out["kind"] == CRYSTAL).any()


def test_errors_say_what_is_missing(rows, transform):
    batch = rows(False)[:6]
    with pytest.raises(DatasetError, match="no column 'Phi_deg'"):
        transform({name: v for name, v in batch.items() if name != "Phi_deg"})
    images = [np.zeros((32, 32)), np.zeros((16, 16)), *batch["image"][2:]]
    with pytest.raises(DatasetError, match="differ in size"):
        transform({**batch, "image": images})
