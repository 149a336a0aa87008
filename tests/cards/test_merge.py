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
    merged = merge_cards(SECOND, merge_cards(SECOND, pushed.replace("configs:\n", theirs, 1)))
    names = [config["config_name"] for config in header(merged)["configs"]]
    assert names == ["disks", "extra"]  # and patterns, which was ours, is gone


def card(*sections: str) -> str:
    return "---\nlicense: mit\n---\n\n" + "\n\n".join(sections) + "\n"


TITLE, USE, FIGURES, LIMITS = (
    "# Net",
    "## Use\n\n```python\n## no heading\nprint(1)\n```",
    "## Figures\n\n50 %",
    "## Limits\n\n- None",
)
BETTER = FIGURES.replace("50", "75")


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ([TITLE, USE + "\nTry it.", FIGURES, LIMITS], [TITLE, USE + "\nTry it.", BETTER, LIMITS]),
        ([TITLE, USE, "## Ours\n\nHi.", FIGURES], [TITLE, USE, "## Ours\n\nHi.", BETTER]),
        ([LIMITS, FIGURES, USE, TITLE], [LIMITS, BETTER, USE + "\n\n" + TITLE]),
        ([TITLE, USE, FIGURES.replace("50", "51"), LIMITS], None),
        ([TITLE, USE, LIMITS, LIMITS.replace("None", "Ice")], None),
        ([TITLE, USE.replace("```python", "~~~~").replace("```", "~~~~"), LIMITS], None),
        ([TITLE, f"## Use\n\n````\n```\n{FIGURES}\n\n## End\n````", LIMITS], None),
        (["# Net of Ada", LIMITS], None),
        ([TITLE, "## Use\n\n```\nnever closed", FIGURES, LIMITS], None),
    ],
    ids=["changed", "added", "moved", "kept", "doubled", "fenced", "nested", "removed", "unclosed"],
)
def test_sections_are_merged_one_by_one(edited, expected):
    first = merge_cards(card(TITLE, USE, FIGURES, LIMITS), None)
    head = first[: first.index("---\n\n#") + len("---\n\n")]
    merged = head + "\n\n".join(edited) + "\n"
    for _ in range(2):
        merged = merge_cards(card(TITLE, USE, BETTER, LIMITS), merged)
        assert RepoCard(merged).text.strip() == "\n\n".join(expected or edited)


def test_sections_that_come_and_go():
    first = merge_cards(card(TITLE, USE, LIMITS), None)
    edited = first.replace("- None", "- Ice")
    merged = merge_cards(card(TITLE, FIGURES, LIMITS), edited)
    assert (
        RepoCard(merged).text
        == "\n" + "\n\n".join([TITLE, FIGURES, LIMITS.replace("None", "Ice")]) + "\n"
    )


def test_what_was_edited_in_a_folder_outlives_a_push_from_another():
    def trained(figures: str, *changes: tuple[str, str]) -> str:
        made = merge_cards(card(TITLE, USE, figures, LIMITS), None)  # as a folder has it
        for before, after in changes:
            assert before in made
            made = made.replace(before, after)
        return made

    there = merge_cards(
        trained(FIGURES, ("- None", "- Ice"), ("license: mit", "license: cc0-1.0")), None
    )
    for figures in (BETTER, FIGURES, BETTER):  # two more models
        there = merge_cards(trained(figures), there)
        assert header(there) == {"license": "cc0-1.0"}
        assert RepoCard(there).text.strip() == "\n\n".join(
            [TITLE, USE, figures, LIMITS.replace("None", "Ice")]
        )
    there = merge_cards(
        trained(BETTER, ("- None", "- Fog"), ("license: mit", "license: 0bsd")), there
    )
    assert header(there) == {"license": "0bsd"}
    assert RepoCard(there).text.endswith("- Fog\n")
    online = there.replace("- Fog", "- Rain")
    there = merge_cards(trained(FIGURES, ("- None", "- Mud")), online)
    assert RepoCard(there).text.endswith("- Rain\n")  # whoever edits it on the Hub decides
    gone = merge_cards(trained(FIGURES, (LIMITS, "")), None)
    assert "Limits" not in RepoCard(merge_cards(trained(BETTER), gone)).text


def test_windows_wrote_it(pushed):
    edited = "\ufeff" + pushed.replace("\n", "\r\n") + "Beware.\r\n"
    merged = merge_cards(SECOND, edited)
    assert merged.count("license") == 1
    assert RepoCard(merged).text.splitlines()[-2:] == ["# 46 rows", "Beware."]


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
    "mark", ["7", "[a, b]", "{header: {}, sections: {}, configs: 1}", "{header: a, sections: [b]}"]
)
def test_a_broken_mark(mark):
    merged = merge_cards(FIRST, f"---\n{MARK}: {mark}\n---\n# Mine\n")
    assert merged == merge_cards(FIRST, None).replace("\n# 46 rows", "# Mine")


def test_broken_configs(pushed):
    odd = "configs: [{config_name: patterns}, 7, {a: b}]"
    for broken in (odd, "configs:", "configs: x"):
        old = pushed.replace("configs:\n- config_name: patterns", broken)
        assert old != pushed
        found = header(merge_cards(SECOND, old))["configs"]
        assert found == [{"config_name": "disks"}, *([{"a": "b"}] if broken is odd else [])]


@pytest.mark.parametrize("broken", ["---\na: [\n---\n", "---\n- a\n---\n", "---\n1: 2\n---\n"])
def test_a_broken_header(broken):
    with pytest.raises(HubError, match=re.escape("README.md of the Hub")):
        merge_cards(FIRST, broken)
    with pytest.raises(HubError, match=re.escape("README.md of here")):
        merge_cards(FIRST, broken, place="here")
    with pytest.raises(HubError, match=re.escape("README.md of the folder")):
        merge_cards(broken, None)
