"""The command that shows what an agent is told at the start of a session."""


def test_it_shows_the_briefing_of_who_asks(run) -> None:
    run("add", "Never deploy on a market day.", "--wing", "shop", "--pin")
    run("add", "Roses need water.", "--wing", "garden", "--agent", "bob")
    out = run("wakeup").out
    assert out.startswith("# Memory palace ")
    assert "## Pinned\n- shop/notes: Never deploy on a market day. [" in out
    assert "- bob: add drawer" in out
    assert "- ann: add drawer" not in out
    assert "- ann: add drawer" in run("wakeup", "--agent", "eve").out
    assert "Roses" not in run("wakeup", "--wing", "shop").out


def test_it_keeps_to_the_budget_and_gives_json(run) -> None:
    run("add", "words " * 2000, "--pin")
    told = run("wakeup", "--budget", "200", "--json").json
    assert told["tokens"] <= 200
    assert told["briefing"] + "\n" == run("wakeup", "--budget", "200").out
    assert "200 to 100000" in run("wakeup", "--budget", "1", code=2).err


def test_an_empty_palace_is_said_to_be_empty_and_a_missing_one_is_missing(run) -> None:
    run("wakeup", code=4)
    removed = run("add", "x", "--json").json["id"]
    run("delete", removed)
    assert "changed" not in run("wakeup").err
