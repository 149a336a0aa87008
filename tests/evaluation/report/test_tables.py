from rich.table import Table

from zoneaxis.evaluation.report.tables import plain


def test_a_rich_table_becomes_plain():
    table = Table(title="by [b]zone[/] axis", caption=None)
    table.add_column("axis")
    table.add_column(r"\[0001]", justify="right")
    table.add_row(r"\[10-10]", "1")
    table.add_row("…")
    found = plain(table)
    assert found.title == "by zone axis"
    assert found.heads == ("axis", "[0001]")
    assert found.rows == (("[10-10]", "1"), ("…", ""))
    assert found.caption == ""
    assert found.left == (True, False)
