"""The YAML files of the groups: ours keep the rule; one line names a user's file that does not."""

import pytest

from npnet.cli import main
from npnet.errors import UserError
from npnet.option_files import LISTS, check_own, member, read
from npnet.paths import config_dir, options

FOLDER = config_dir()
OURS = [path for group in LISTS for path in options(group, [FOLDER]).values()]
BROKEN = {
    "noise": [
        ("mine:\n  _target_: [npnet.noise\n  x: {", "cannot be read as YAML.*line 2"),
        ("mine:\n\t_target_: x\n", "cannot be read as YAML.*line 2"),
        ("", "needs the key mine, the name of the file"),
        ("other:\n  _target_: npnet.noise.Standard\n", "needs the key mine, the name of the file"),
        ("mine: npnet.noise.Standard\n", "needs the key mine, the name of the file"),
        ("- mine\n", "needs the key mine, the name of the file"),
    ],
    "backbone": [
        ("- a\n", "needs keys with values"),
        ("a: ]", "cannot be read as YAML"),
    ],
}


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_of_a_list_has_its_name_as_its_only_key(path):
    assert list(read(path)) == [path.stem] and "_target_" in member(path)


@pytest.mark.parametrize(
    ("group", "text", "told"), [(group, *case) for group, cases in BROKEN.items() for case in cases]
)
def test_a_wrong_file_of_ones_own_is_named_with_what_it_needs(tmp_path, group, text, told):
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"{group}/mine.yaml: {told}"):
        check_own([tmp_path, FOLDER])


def test_other_folders_and_files_are_passed_over(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/cake.yaml").write_text("- [")
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise/notes.txt").write_text("- [")
    check_own([tmp_path, FOLDER])


@pytest.mark.parametrize("command", ["evaluate", "check"])
def test_commands_refuse_a_wrong_file_before_anything_else(tmp_path, command, monkeypatch, capsys):
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise/mine.yaml").write_text("mine: [")
    chosen = {"evaluate": "noise=[standard,mine]", "check": "noise=mine"}[command]
    monkeypatch.setattr("sys.argv", ["npnet", command, "--config-dir", str(tmp_path), chosen])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "mine.yaml: cannot be read as YAML" in capsys.readouterr().err
