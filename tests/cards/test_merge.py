import re

import pytest
from huggingface_hub import RepoCard

from zoneaxis.cards.merge import MARK, merge_cards
from zoneaxis.errors import HubError

FIRST = """---
license: cc-by-4.0
tags: [physics]
configs: [{config_name: patterns}]
---

# 46 rows
"""
SECOND = FIRST.replace("46", "92").replace("cc-by-4.0", "mit").replace("patterns", "disks")


def header(card: str) -> dict:
    found = RepoCard(card).data.to_dict()
    del found[MARK]
    return found


@pytest.fixture
def pushed() -> str:
    return merge_cards(FIRST, None)


def test_first_card(pushed):
    assert header(pushed) == RepoCard(FIRST).data.to_dict()
    assert RepoCard(pushed).text == RepoCard(FIRST).text
    assert merge_cards(FIRST, pushed) == pushed


def test_an_unedited_card_is_replaced(pushed):
    assert merge_cards(SECOND, pushed) == merge_cards(SECOND, None)
    assert merge_cards(SECOND, pushed.replace("\n", "\r\n")) == merge_cards(SECOND, None)


def test_an_edited_text_is_kept_for_good(pushed):
    edited = pushed + "Beware of shard 3.\n"
    for card in (SECOND, FIRST, SECOND):
        edited = merge_cards(card, edited)
        assert edited.endswith("# 46 rows\nBeware of shard 3.\n")
        assert header(edited) == header(merge_cards(card, None))


def test_an_edited_header_is_merged(pushed):
    edited = pushed.replace("- physics", "- steel\ndoi: 10/x\ndataset_info: {size: 1}")
    merged = merge_cards(SECOND, merge_cards(SECOND, edited))
    assert header(merged) == {
        "license": "cc-by-4.0",  # whoever edits the header decides
        "tags": ["steel", "physics"],
        "doi": "10/x",
        "configs": [{"config_name": "disks"}],  # and dataset_info is gone: it is of other files
    }
    assert "# 92 rows" in merged


def test_a_config_of_somebody_else_stays(pushed):
    theirs = "configs:\n- config_name: extra\n"
    merged = merge_cards(SECOND, merge_cards(SECOND, pushed.replace("configs:\n", theirs)))
    names = [config["config_name"] for config in header(merged)["configs"]]
    assert names == ["disks", "extra"]  # and patterns, which was ours, is gone


@pytest.mark.parametrize("theirs", ["# Mine\n", "---\nlicense: mit\n---\n# Mine\n"])
def test_a_card_of_somebody_else_is_kept(theirs):
    merged = merge_cards(FIRST, theirs)
    assert RepoCard(merged).text == "# Mine\n"
    assert header(merged)["configs"] == [{"config_name": "patterns"}]


def test_a_card_without_text_gets_one():
    merged = merge_cards(FIRST, "---\nlicense: mit\n---\n")  # as the Hub's form makes it
    assert "# 46 rows" in merged
    assert header(merged)["license"] == "mit"


def test_a_card_from_the_hub_pushed_to_another_repository(pushed):
    assert merge_cards(pushed, None) == pushed


@pytest.mark.parametrize(
    "broken", ["---\na: [\n---\n", "---\n- a\n---\n", f"---\n{MARK}: 7\n---\n"]
)
def test_a_broken_header(broken):
    if MARK in broken:
        assert merge_cards(FIRST, broken) == merge_cards(FIRST, None)
        return
    with pytest.raises(HubError, match=re.escape("README.md of the Hub")):
        merge_cards(FIRST, broken)
    with pytest.raises(HubError, match=re.escape("README.md of the folder")):
        merge_cards(broken, None)
