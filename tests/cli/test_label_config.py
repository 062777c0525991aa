import json

import pytest

from locara_label.cli.app import run
from locara_label.hosts.label_studio.config import parse
from locara_label.hosts.label_studio.ready import DESCRIPTIONS, kinds
from locara_label.hosts.label_studio.setup_check import problems


def test_without_a_kind_all_are_named(capsys):
    assert run(["label-config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == kinds() == sorted(DESCRIPTIONS)


@pytest.mark.parametrize("kind", kinds())
def test_what_is_printed_has_no_problem(kind, capsys):
    assert run(["label-config", kind]) == 0
    assert problems(parse(capsys.readouterr().out)) == []


@pytest.mark.parametrize("kind", kinds())
def test_own_labels_take_the_place_of_the_examples(kind, capsys):
    assert run(["label-config", kind, "--label", "cell", "--label", '<"A" & b>', "--json"]) == 0
    config = parse(json.loads(capsys.readouterr().out)["config"])
    labelled = [control for control in config.controls if control.labels]
    assert labelled
    assert all(control.label_names == ("cell", '<"A" & b>') for control in labelled)
    assert problems(config) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [(["nothing"], "option.kind"), (["brush", "--label", "a", "--label", "a"], "option.label"),
     (["brush", "--label", " "], "option.label"), (["../brush"], "option.kind")],
)  # fmt: skip
def test_wrong_usage(words, code, capsys):
    assert run(["label-config", *words]) == 2
    assert f"error [{code}]" in capsys.readouterr().err
