from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_the_two_commands_and_its_picture_is_there():
    assert "make demo" in README
    assert "make test" in README
    assert "@@" not in README
    assert (ROOT / "docs" / "before_after.png").is_file()
