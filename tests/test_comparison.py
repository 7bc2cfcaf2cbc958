import json

import numpy as np
from method_scores import ABSENT, INVENTED, MISSED, method, score

from medgan.evaluation.compare import compare
from medgan.report.comparison import compare_briefly, write_comparison_json


def test_comparison_is_told_in_a_table():
    a, b = method([0.5, 0.75, 0.5, 0.25]), method([0.75, 1.0, 0.5, 0.5])
    lines = compare_briefly(compare({"unet": [*a, score("c4", **ABSENT)], "gan": [*b, score("c9")]}, metrics=["dice"]))
    assert lines[0] == "Dice: gan against unet, higher is better"
    assert " ".join(lines[1].split()) == (
        "organ n unet gan difference (95% interval) Wilcoxon p p (Holm) effect better/worse/equal"
    )
    assert lines[2].split()[:5] == ["heart", "4", "0.500", "0.688", "+0.188"]
    assert lines[2].split()[-4:] == ["0.250", "0.250", "+1.00", "3/0/1"]
    assert lines[4:] == [
        "missing in unet: 1 case (c9), which another has",
        "missing in gan: 1 case (c4), which another has",
        "effect: matched-pairs rank-biserial correlation; p (Holm): corrected over organs and pairs of methods",
    ]
    assert len(lines[1]) == len(lines[2])


def test_what_rounds_to_zero_has_no_sign():
    lines = compare_briefly(compare({"a": method([0.5] * 5), "b": method([0.5001, *[0.5] * 4])}, metrics=["dice"]))
    assert "0.000 (0.000 to 0.000)" in lines[2]
    lines = compare_briefly(compare({"a": method([0.5001, *[0.5] * 4]), "b": method([0.5] * 5)}, metrics=["dice"]))
    assert "0.000 (0.000 to 0.000)" in lines[2]
    assert "-0.000" not in lines[2]


def test_undefined_pairs_are_told_below_the_table():
    a, b = [score("c0"), score("c1")], [score("c0"), score("c1", **MISSED)]
    lines = compare_briefly(compare({"unet": a, "gan": b}, metrics=["hd95_mm"]))
    assert "heart: undefined in 1 case (c1) of gan only, left out" in lines


def test_an_organ_invented_is_told_as_the_fault_of_who_invented_it():
    a, b = [score("c0"), score("c1", **INVENTED)], [score("c0"), score("c1", **ABSENT)]
    expected = "in 1 case (c1) more, in which there is no difference to test: unet invented it, gan rightly found none"
    lines = compare_briefly(compare({"unet": a, "gan": b}, metrics=["dice"]))
    assert f"heart: gan is better {expected}" in lines
    assert not any("undefined" in line for line in lines)
    lines = compare_briefly(compare({"gan": b, "unet": a}, metrics=["dice"]))
    assert f"heart: unet is worse {expected}" in lines


def test_ranking_is_told_in_a_table():
    methods = {name: method([d] * 5) for name, d in (("low", 0.5), ("high", 0.9), ("mid", 0.7))}
    lines = compare_briefly(compare(methods, metrics=["dice"]))
    start = lines.index("Ranking by Dice (5 cases, Kendall's tau 1.00 over resampled cases)")
    assert [line.split() for line in lines[start + 1 : start + 5]] == [
        ["rank", "method", "mean", "rank", "as", "1", "as", "2", "as", "3"],
        ["1", "high", "1.00", "100%", "0%", "0%"],
        ["2", "mid", "2.00", "0%", "100%", "0%"],
        ["3", "low", "3.00", "0%", "0%", "100%"],
    ]


def test_one_case_is_ranked_without_a_word_on_stability():
    methods = {name: method([d]) for name, d in (("low", 0.5), ("high", 0.9), ("mid", 0.7))}
    lines = compare_briefly(compare(methods, metrics=["dice"]))
    heading = "Ranking by Dice (1 case, stability unknown, as fewer than two of them rank the methods)"
    assert lines[lines.index(heading) + 2].split() == ["1", "high", "1.00", "-", "-", "-"]


def test_json_holds_everything_but_the_cases(tmp_path):
    comparison = compare({"a": method([0.5, 0.75]), "b": [score("c0", **MISSED)]}, metrics=["hd95_mm"])
    write_comparison_json(comparison, tmp_path / "comparison.json", settings={"evaluations": {"a": "runs/a"}})
    document = json.loads((tmp_path / "comparison.json").read_text())
    (pair,) = document["pairs"]
    assert (pair["a"], pair["b"], pair["n"], pair["difference"], pair["undefined_b"]) == ("a", "b", 0, None, ["c0"])
    assert "values_a" not in pair
    assert document["missing"] == {"a": [], "b": ["c1"]}
    assert document["settings"] == {"evaluations": {"a": "runs/a"}}
    assert document["definitions"]["effect_size"] == "matched-pairs rank-biserial correlation"
    assert document["versions"]["numpy"] == np.__version__
