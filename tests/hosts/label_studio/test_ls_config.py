"""Labeling configs: what they show, where masks go, which label a class becomes, and what is wrong with them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from locara_label.errors import BadOption, BadRequest
from locara_label.hosts.label_studio.config import LabelingConfig, parse
from locara_label.hosts.label_studio.label_map import map_labels
from locara_label.hosts.label_studio.ready import kinds, labeling_config
from locara_label.hosts.label_studio.setup_check import problems

WIRE = Path(__file__).parent / "wire"


def view(inside: str) -> str:
    return f'<View><Image name="image" value="$image"/>{inside}</View>'


def tag(kind: str, name: str, labels: str = "A", extra: str = "") -> str:
    inside = "".join(f'<Label value="{label}"/>' for label in labels.split(","))
    return f'<{kind} name="{name}" toName="image" {extra}>{inside}</{kind}>'


def recorded() -> Iterator[str]:
    for path in sorted(WIRE.glob("*.json")):
        body = json.loads(path.read_text("utf-8"))["body"] or {}
        if "schema" in body or "label_config" in body:
            yield body.get("schema") or body["label_config"]


def test_the_recorded_configs() -> None:
    kinds = {control.kind for config in recorded() for control in parse(config).controls}
    assert {"BrushLabels", "BitmaskLabels", "KeyPointLabels", "RectangleLabels", "TextArea", "VideoRectangle"} <= kinds


def test_a_config_that_behaves() -> None:
    config = parse(json.loads((WIRE / "20_smart_keypoint_click_positive.json").read_text("utf-8"))["body"]["label_config"])
    brush, point, *_ = config.controls
    assert [(shown.name, shown.kind, shown.value) for shown in config.images] == [("image", "image", "$image")]
    assert (brush.name, brush.shape, brush.smart, brush.label_names) == ("brush", "brush", False, ("Object", "Other"))
    assert (point.shape, point.smart, point.smart_only, point.to_name) == ("keypoint", True, True, ("image",))
    assert config.output("image", "Object").shape is brush
    assert config.message_area("image").name == "prompt"
    assert [problem.code for problem in problems(config)] == ["config.text_once"]


@pytest.mark.parametrize("kind", kinds())
def test_ready_configs_have_no_problems(kind: str) -> None:
    config = parse(labeling_config(kind))
    assert problems(config) == []
    for shown in config.images:
        assert config.output(shown.name).names is not None
        assert config.message_area(shown.name) is not None
    assert config.images or config.videos


def test_there_are_ready_configs() -> None:
    assert set(kinds()) >= {"brush", "brush-text", "bitmask", "bitmask-text", "polygon", "polygon-text", "pages", "video"}


@pytest.mark.parametrize("kind", ["nothing", "../config", "", "brush.xml"])
def test_an_unknown_ready_config(kind: str) -> None:
    with pytest.raises(BadOption, match="bitmask"):
        labeling_config(kind)


def test_the_most_exact_output_comes_first() -> None:
    kinds = ["KeyPointLabels", "EllipseLabels", "RectangleLabels", "PolygonLabels", "BrushLabels", "BitmaskLabels"]
    config = parse(view("".join(tag(kind, kind) for kind in kinds)))
    assert [output.shape.kind for output in config.outputs("image")] == kinds[::-1]


def test_an_output_that_has_the_label_comes_before_a_better_one() -> None:
    config = parse(view(tag("BitmaskLabels", "bits") + tag("PolygonLabels", "poly", "B")))
    assert [config.output("image", label).shape.name for label in ("A", "B", "C", None)] == ["bits", "poly", "bits", "bits"]


def test_what_only_asks_or_skips_is_no_output() -> None:
    inside = tag("BitmaskLabels", "a", extra='model_skip="true"') + tag("BrushLabels", "b", extra='smart="true" smartOnly="true"')
    config = parse(view(inside))
    assert config.output("image") is None
    assert "config.no_output" in {problem.code for problem in problems(config) if problem.is_fatal}


def test_a_plain_brush_is_named_by_the_labels_of_its_picture() -> None:
    other = '<Image name="other" value="$other"/><Labels name="wrong" toName="other"><Label value="X"/></Labels>'
    config = parse(view(other + '<Brush name="brush" toName="image"/>' + tag("Labels", "names")))
    output = config.output("image", "A")
    assert (output.shape.name, output.names.name) == ("brush", "names")


def test_several_pictures_and_controls() -> None:
    inside = '<Image name="two" valueList="$pages"/><BrushLabels name="b" toName="image,two"><Label value="A"/></BrushLabels>'
    config = parse(view(inside + '<PolygonLabels name="p" toName="two"><Label value="A"/></PolygonLabels>'))
    assert [control.name for control in config.controls_of("image")] == ["b"]
    assert [control.name for control in config.controls_of("two")] == ["b", "p"]
    assert config.object("two").value_list == "$pages"


def test_labels_of_the_task_may_be_any() -> None:
    config = parse(view('<BrushLabels name="b" toName="image" value="$labels"/>'))
    assert config.output("image").may_have("whatever")


def test_label_names() -> None:
    inside = '<Label value="Größe"/><Label value="猫"/><Label value="Größe"/><View><Label value="long" alias="short"/></View>'
    config = parse(view(f'<!-- note --><BrushLabels name="b" toName="image">{inside}</BrushLabels>'))
    assert config.controls[0].label_names == ("Größe", "猫", "short")


def test_an_xml_declaration_is_no_obstacle() -> None:
    assert parse('<?xml version="1.0" encoding="utf-8"?>\n' + view("")).images


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><View><Header value="&b;"/></View>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><View><Header value="v"/>&a;</View>'


@pytest.mark.parametrize(
    "config",
    [
        BOMB,
        OUTSIDE,
        '<!DOCTYPE View SYSTEM "http://127.0.0.1:9/x.dtd"><View/>',
        "<View>&nothing;</View>",
        "<View>" + "x" * (10 << 20) + "</View>",
        "<View>" * 2000 + "</View>" * 2000,
        "<View>" + "<Label/>" * 30_000 + "</View>",
        "<View>",
        "",
        "{}",
        "\x00",
        "\ud800",
        '<View a="1" a="2"/>',
    ],
    ids=range(13),
)
def test_hostile_configs_are_refused(config: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(config)
    assert caught.value.code == "config.bad"


def control(labels: str, extra: str = "") -> LabelingConfig:
    return parse(view(f'<BrushLabels name="b" toName="image" {extra}>{labels}</BrushLabels>')).controls[0]


def test_classes_become_labels() -> None:
    labels = """<Label value="Vehicle" predicted_values="car, truck"/><Label value="person"/><Label value="Traffic-Light"/>
    <Label value="car"/><Label value="STRASSE"/><Label value="Dog" model_skip="true"/><Label value="Cat"/>"""
    found = map_labels(["car", "Truck", "person", "traffic_light", "straße", "dog", "tree", "tree"], control(labels))
    assert found.labels == {
        "car": "Vehicle",
        "Truck": "Vehicle",
        "person": "person",
        "traffic_light": "Traffic-Light",
        "straße": "STRASSE",
    }
    assert found.unmapped == ("tree",)
    assert found.skipped == ("dog",)
    assert found.unused == ("car", "Dog", "Cat")


def test_the_closest_spelling_wins() -> None:
    labels = '<Label value="traffic light"/><Label value="Traffic_Light"/><Label value="traffic_light"/>'
    found = map_labels(["traffic_light", "Traffic Light", "trafficlight"], control(labels))
    assert list(found.labels.values()) == ["traffic_light", "traffic light", "traffic light"]


def test_scores_below_the_threshold_get_no_label() -> None:
    labels = '<Label value="a" model_score_threshold="0"/><Label value="b"/><Label value="c" model_score_threshold="0.9"/>'
    found = map_labels("abc", control(labels, 'model_score_threshold="0.5"'))
    assert [found.label(name, 0.6) for name in "abcd"] == ["a", "b", None, None]
    assert [found.label(name, 0.4) for name in "abc"] == ["a", None, None]


def test_a_control_that_skips_gets_nothing() -> None:
    found = map_labels("ab", control('<Label value="a"/>', 'model_skip="true"'))
    assert (found.labels, found.skipped, found.unmapped) == ({}, ("a",), ("b",))


@pytest.mark.parametrize(
    ("inside", "code", "xml"),
    [
        (tag("BrushLabels", "m", extra='smart="false"'), "config.no_prompt", 'smart="true" smartOnly="true"'),
        (tag("KeyPointLabels", "p", extra='smart="true" smartOnly="true"'), "config.no_output", "<BrushLabels"),
        (tag("BrushLabels", "m", extra='smart="true" opacity="0.5"'), "config.smart_mask", 'smart="false"'),
        (
            tag("BrushLabels", "m", "A"),
            "config.smart_mask",
            '<BrushLabels name="m" toName="image" smart="false"><Label value="A"/>',
        ),
        (tag("RectangleLabels", "p", extra='smart="true"'), "config.not_smart_only", 'smartOnly="true"'),
        ('<Brush name="m" toName="image" smart="false"/>', "config.no_labels", "<Labels"),
        (
            tag("BrushLabels", "m", extra='smart="false"')
            + tag("KeyPointLabels", "p", "A,&lt;B", 'smart="true" smartOnly="true"'),
            "config.labels_differ",
            '<Label value="&lt;B"/>',
        ),
        (tag("BrushLabels", "m", extra='smart="false" model_score_threshold="high"'), "config.threshold", "0.5"),
        ('<TextArea name="prompts" toName="image" rows="2"/>', "config.text_asks", 'rows="2" smart="true"'),
        ('<TextArea name="remarks" toName="image"/>', "config.text_asks", 'smart="false"'),
        ('<TextArea name="myPrompt" toName="image" smart="false"/>', "config.text_not_smart", 'smart="true"'),
        (
            '<TextArea name="m" toName="image" smart="true" maxSubmissions="2"/>',
            "config.text_once",
            'toName="image" smart="true"/>',
        ),
    ],
)
def test_problems_say_what_to_write(inside: str, code: str, xml: str) -> None:
    found = {problem.code: problem for problem in problems(parse(view(inside)))}
    assert xml in found[code].xml
    assert "image" in found[code].message or "m" in found[code].message


def test_a_text_about_pages_says_which() -> None:
    pages = '<View><Image name="i" valueList="$i"/><TextArea name="t" toName="i" smart="true"/></View>'
    found = {problem.code: problem for problem in problems(parse(pages))}
    assert found["config.text_page"].xml == '<TextArea name="t" toName="i" smart="true" perItem="true"/>'
    assert "config.text_page" not in {
        problem.code for problem in problems(parse(pages.replace("smart=", 'perItem="true" smart=')))
    }


def test_no_picture() -> None:
    (problem,) = problems(parse('<View><Text name="t" value="$t"/></View>'))
    assert problem.is_fatal
    assert problem.code == "config.no_image"


def test_following_the_advice_mends_a_config() -> None:
    inside, advice = "", []
    for _ in range(5):
        advice = problems(parse(view(inside)))
        inside += "".join(problem.xml for problem in advice)
        if not advice:
            break
    assert advice == []
    assert "BrushLabels" in inside


def test_a_video_needs_a_box_tag() -> None:
    config = parse('<View><Video name="v" value="$v"/></View>')
    assert [(problem.code, problem.is_fatal) for problem in problems(config)] == [
        ("config.no_output", True),
        ("config.no_labels", False),
        ("config.framerate", False),
    ]


@pytest.mark.parametrize(
    ("changed", "by", "code", "xml"),
    [
        ('smart="true"/>', 'smart="false"/>', "config.no_prompt", '<VideoRectangle name="box" toName="video" smart="true"/>'),
        (
            ' allowEmpty="true"',
            "",
            "config.no_again",
            '<Labels name="label" toName="video" allowEmpty="true"><Label value="Object"/>',
        ),
        (' framerate="25"', "", "config.framerate", '<Video name="video" value="$video" framerate="25"/>'),
        ('smart="true" editable', "editable", "config.text_asks", 'smart="true"'),
    ],
)
def test_a_video_config_that_misbehaves_names_the_tag_that_mends_it(changed: str, by: str, code: str, xml: str) -> None:
    sound = labeling_config("video")
    assert problems(parse(sound)) == []
    assert changed in sound
    [found] = problems(parse(sound.replace(changed, by, 1)))
    assert (found.code, found.is_fatal) == (code, False)
    assert xml in found.xml
