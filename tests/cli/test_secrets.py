"""`palatine secrets`, and the warning of commands that write."""

KEY = "AKIAIOSFODNN7EXAMPLE"


def test_it_lists_places_and_shows_no_secret(run) -> None:
    run("secrets", code=4)  # there is no palace yet
    done = run("add", f"use {KEY}", "--source", f"https://ann:{KEY}@example.org/")
    assert "AWS Access Key" in done.err
    run("kg", "add", "server", "opens with", KEY)
    for json in ([], ["--json"]):
        listed = run("secrets", *json, code=5)
        assert "AWS Access Key" in listed.out
        assert KEY.lower() not in (listed.out + listed.err).lower()
    assert len(run("secrets", "--json", code=5).json["left"]) == 3


def test_masking_asks_and_leaves_what_cannot_be_masked(run) -> None:
    drawer = run("add", f"use {KEY}").rows[0][0]
    run("secrets", "--mask", code=2)
    run("secrets", "--mask", "--yes")
    assert run("get", drawer).out == "use [AWS Access Key masked]"
    run("kg", "add", "server", "opens with", KEY)
    assert "--forget" in run("secrets", "--mask", "--yes", code=5).err
    run("secrets", "--forget", "--yes")
    run("secrets")
    run("secrets", "--forget", "--mask", code=2)


def test_a_warning_stands_in_json(run) -> None:
    done = run("add", f"use {KEY}", "--json").json
    assert "AWS Access Key" in done["warnings"][0]
    done = run("update", done["id"], f"now {KEY}", "--json").json
    assert "AWS Access Key" in done["warnings"][0]


def test_a_wing_is_listed_alone(run) -> None:
    run("add", f"use {KEY}", "--wing", "app")
    run("secrets", "--wing", "shop")
    run("secrets", "--wing", "app", code=5)
