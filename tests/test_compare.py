import numpy as np
import pytest
from method_scores import ABSENT, INVENTED, MISSED, method, score

from medgan.errors import MedganError
from medgan.evaluation.compare import compare
from medgan.evaluation.scores import Score


def only(methods, metric="dice", **options):
    (pair,) = compare(methods, metrics=[metric], **options).pairs
    return pair


def test_two_methods_by_hand():
    pair = only({"unet": method([0.5, 0.75, 0.5, 0.25]), "gan": method([0.75, 1.0, 0.5, 0.5])})
    assert (pair.a, pair.b, pair.organ, pair.metric, pair.n) == ("unet", "gan", "heart", "dice", 4)
    assert (pair.mean_a, pair.mean_b) == (0.5, 0.6875)
    assert (pair.difference, pair.median_difference) == (0.1875, 0.25)
    assert 0.0 <= pair.difference_low < 0.1875 < pair.difference_high <= 0.25
    assert (pair.num_better, pair.num_worse, pair.num_equal) == (3, 0, 1)
    assert pair.wilcoxon_p == pair.permutation_p == 2 / 8  # three changes, all up; the equal pair takes no part
    assert pair.effect_size == 1.0
    assert (pair.case_ids, pair.values_a, pair.values_b) == (
        ("c0", "c1", "c2", "c3"),
        (0.5, 0.75, 0.5, 0.25),
        (0.75, 1.0, 0.5, 0.5),
    )


def test_lower_distances_are_better():
    methods = {"a": method([5.0, 3.0], name="hd95_mm"), "b": method([4.0, 3.5], name="hd95_mm")}
    pair = only(methods, "hd95_mm")
    assert (pair.difference, pair.num_better, pair.num_worse) == (-0.25, 1, 1)


def test_volume_errors_are_compared_by_their_size():
    methods = {"a": method([15.0, 5.0], name="prediction_ml"), "b": method([8.0, 15.0], name="prediction_ml")}
    pair = only(methods, "volume_error_ml")  # errors 5, -5 against -2, 5
    assert (pair.mean_a, pair.mean_b, pair.difference) == (5.0, 3.5, -1.5)
    assert (pair.num_better, pair.num_worse, pair.num_equal) == (1, 0, 1)


def test_swapping_methods_turns_signs_and_keeps_p():
    rng = np.random.default_rng(4)
    one, two = method(rng.random(20)), method(rng.random(20) + 0.1)
    forth, back = only({"x": one, "y": two}), only({"y": two, "x": one})
    assert (back.difference, back.median_difference) == (-forth.difference, -forth.median_difference)
    assert (back.effect_size, back.permutation_p) == (-forth.effect_size, forth.permutation_p)
    assert back.wilcoxon_p == pytest.approx(forth.wilcoxon_p, rel=1e-12)
    assert (back.num_better, back.num_worse) == (forth.num_worse, forth.num_better)
    assert (back.difference_low, back.difference_high) == pytest.approx((-forth.difference_high, -forth.difference_low))


def test_a_method_against_itself_differs_in_nothing():
    pair = only({"a": method([0.5, 0.6, 0.7]), "b": method([0.5, 0.6, 0.7])})
    assert (pair.difference, pair.difference_low, pair.difference_high, pair.effect_size) == (0.0, 0.0, 0.0, 0.0)
    assert (pair.wilcoxon_p, pair.permutation_p, pair.wilcoxon_p_holm, pair.num_equal) == (1.0, 1.0, 1.0, 3)


def test_differences_by_rounding_are_none():
    pair = only({"a": method([0.1 + 0.2]), "b": method([0.3])})
    assert (pair.difference, pair.num_equal) == (0.0, 1)


def test_the_order_of_cases_changes_nothing():
    rng = np.random.default_rng(3)
    scores = {
        name: [score(f"c{i}", organ, dice=x) for i, x in enumerate(rng.random(20)) for organ in ("heart", "liver")]
        for name in "abc"
    }
    shuffled = {name: [one for i in rng.permutation(20) for one in s[2 * i : 2 * i + 2]] for name, s in scores.items()}
    assert [s.case_id for s in shuffled["a"]] != [s.case_id for s in scores["a"]]
    assert repr(compare(shuffled, metrics=["dice"])) == repr(compare(scores, metrics=["dice"]))


def test_cases_are_paired_by_id_in_any_order():
    a = method([0.1, 0.2, 0.3])
    pair = only({"a": a, "b": a[::-1]})
    assert pair.num_equal == 3


def test_missing_cases_are_named_and_left_out():
    comparison = compare({"a": method([0.5, 0.6, 0.7]), "b": method([0.5, 0.6, 0.7])[1:]}, metrics=["dice"])
    assert comparison.missing == {"a": (), "b": ("c0",)}
    assert (comparison.num_cases, comparison.pairs[0].n) == (2, 2)


def test_undefined_values_are_left_out_and_their_cases_named():
    a = [score("c0"), score("c1"), score("c2", **MISSED), score("c3", **ABSENT)]
    b = [score("c0"), score("c1", **MISSED), score("c2"), score("c3", **ABSENT)]
    pair = only({"a": a, "b": b}, "hd95_mm")
    assert (pair.n, pair.undefined_a, pair.undefined_b, pair.num_undefined) == (1, ("c2",), ("c1",), 1)


@pytest.mark.parametrize("undefined", ["count", "penalise"])
@pytest.mark.parametrize("metric", ["dice", "hd95_mm"])
def test_an_organ_invented_where_the_other_rightly_found_none_is_counted_apart(metric, undefined):
    a = [score("c0"), score("c1", **INVENTED), score("c2", **ABSENT)]
    b = [score("c0"), score("c1", **ABSENT), score("c2", **INVENTED)]
    pair = only({"a": a, "b": b}, metric, undefined=undefined)
    assert (pair.n, pair.invented_a, pair.invented_b) == (1, ("c1",), ("c2",))
    assert (pair.undefined_a, pair.undefined_b, pair.num_undefined, pair.num_without_pair) == ((), (), 0, 2)


def test_the_volume_of_an_invented_organ_makes_a_pair():
    pair = only({"a": [score(**INVENTED)], "b": [score(**ABSENT)]}, "volume_error_ml")
    assert (pair.n, pair.difference, pair.num_better, pair.invented_a) == (1, -11.0, 1, ())


def test_a_missed_organ_can_be_penalised():
    a, b = [score("c0"), score("c1")], [score("c0"), score("c1", **MISSED)]
    pair = only({"a": a, "b": b}, "hd95_mm", undefined="penalise")
    assert (pair.n, pair.num_worse, pair.undefined_b) == (2, 1, ())
    assert pair.difference == (0 + 497.0) / 2


def test_no_pair_has_no_numbers():
    pair = only({"a": [score("c0")], "b": [score("c0", **MISSED)]}, "hd95_mm")
    assert (pair.n, pair.undefined_b) == (0, ("c0",))
    numbers = [pair.mean_a, pair.difference, pair.difference_low, pair.wilcoxon_p, pair.permutation_p_holm]
    assert np.isnan([*numbers, pair.effect_size, pair.median_difference]).all()


def test_p_values_are_corrected_over_organs_within_a_metric():
    rng = np.random.default_rng(1)
    methods = {
        name: [s for organ in ("heart", "liver") for s in method(rng.random(10) + shift, organ=organ)]
        for name, shift in (("a", 0.0), ("b", 0.4))
    }
    comparison = compare(methods, metrics=["dice", "hd95_mm"])
    heart, liver = (pair for pair in comparison.pairs if pair.metric == "dice")
    small, large = sorted([heart, liver], key=lambda pair: pair.wilcoxon_p)
    assert small.wilcoxon_p_holm == pytest.approx(2 * small.wilcoxon_p)
    assert large.wilcoxon_p_holm == pytest.approx(max(2 * small.wilcoxon_p, large.wilcoxon_p))
    assert {pair.wilcoxon_p_holm for pair in comparison.pairs if pair.metric == "hd95_mm"} == {1.0}


def test_all_pairs_of_methods_are_compared_and_corrected_together():
    rng = np.random.default_rng(2)
    comparison = compare({name: method(rng.random(8)) for name in "abc"}, metrics=["dice"])
    assert [(pair.a, pair.b) for pair in comparison.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    smallest = min(comparison.pairs, key=lambda pair: pair.permutation_p)
    assert smallest.permutation_p_holm == pytest.approx(min(1.0, 3 * smallest.permutation_p))


def test_organs_that_only_one_method_has_are_left_out_and_named():
    a = [score("c0", "heart"), score("c0", "liver")]
    comparison = compare({"a": a, "b": [score("c0", "heart")]}, metrics=["dice"])
    assert (comparison.organs, comparison.organs_left_out) == (("heart",), ("liver",))


def test_every_judged_metric_that_all_have_is_compared_by_default():
    extra = Score("c0", "heart", {**score().values, "iou": 0.8}, 500.0)
    assert compare({"a": [extra], "b": [score()]}).metrics == ("dice", "hd95_mm", "volume_error_ml")


def test_references_of_another_volume_are_found():
    a, b = method([0.5, 0.5]), [score("c0"), score("c1", reference_ml=10.1)]
    assert compare({"a": a, "b": b}).different_references == ("c1",)
    assert compare({"a": a, "b": a}).different_references == ()


def test_means_and_agreement_are_over_the_cases_that_all_have():
    a, b = method([0.5, 0.7, 0.9]), method([0.4, 0.6])
    comparison = compare({"a": a, "b": b}, metrics=["dice"])
    of_a, of_b = comparison.means
    assert (of_a.method, of_a.n, of_a.mean, of_b.mean) == ("a", 2, 0.6, 0.5)
    agreement = comparison.agreements["a"]["heart"]
    assert agreement is not None
    assert (agreement.n, agreement.bias) == (2, 1.0)


@pytest.mark.parametrize(
    ("methods", "metrics", "message"),
    [
        ({"a": method([0.5])}, None, "at least two methods, found 1"),
        ({"a": method([0.5]), "b": [score("x")]}, None, "a case in common to be compared, found a: c0; b: x"),
        ({"a": method([0.5]), "b": [score("c0", "liver")]}, None, "an organ in common .* found a: heart; b: liver"),
        ({"a": [score(), score()], "b": [score()]}, None, "one per case and organ, found two of c0, heart"),
        ({"a": method([0.5]), "b": method([0.5])}, ["iou"], r"every method has \(dice, .*\), found iou"),
        ({"a": method([0.5]), "b": method([0.5])}, ["reference_ml"], "must be judged ones .* found reference_ml"),
    ],
)
def test_what_cannot_be_compared_is_refused(methods, metrics, message):
    with pytest.raises(MedganError, match=message):
        compare(methods, metrics=metrics)


def test_two_methods_are_not_ranked_and_three_by_each_metric_and_by_all():
    methods = {name: method([0.5, 0.6]) for name in "abc"}
    assert compare({name: methods[name] for name in "ab"}, metrics=["dice"]).rankings == ()
    assert [r.metrics for r in compare(methods, metrics=["dice"]).rankings] == [("dice",)]
    both = compare(methods, metrics=["dice", "hd95_mm"]).rankings
    assert [r.metrics for r in both] == [("dice",), ("hd95_mm",), ("dice", "hd95_mm")]
