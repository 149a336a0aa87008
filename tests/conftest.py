from pathlib import Path

import pytest

from zoneaxis.diffraction.crystal import Crystal, load_crystal

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """A cache of the tests' own, not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZONEAXIS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Scans, maps and multislice patterns that lie beside the repository, if they do."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is absent")
    return SHARED_DATA


@pytest.fixture(scope="session")
def nickelate() -> Crystal:
    return load_crystal("LiNiO2")


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory, nickelate: Crystal) -> Path:
    """A data set of 24 directions in 32 x 32 pixels; tests that change it make a copy."""
    from zoneaxis.dataset_builder.build import build
    from zoneaxis.dataset_builder.recipe import preset

    folder = tmp_path_factory.mktemp("data") / "tiny"
    return build(preset("test", nickelate), folder, workers=1)


@pytest.fixture
def hub(monkeypatch, tmp_path_factory):
    """A Hugging Face Hub of the test's own, on this machine."""
    from hub_server import Hub
    from huggingface_hub import constants

    with Hub() as hub:
        url = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {  # what variables set at import
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": url,
            "HF_HUB_CACHE": str(tmp_path_factory.mktemp("hub")),
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        yield hub


@pytest.fixture
def set_threads():
    """Return what sets torch's threads; afterwards there are as many as before."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def one_thread(set_threads):
    """As in workers and other processes: sums in another order are rounded otherwise."""
    set_threads(1)
