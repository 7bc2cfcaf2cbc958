import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from test_tables import EVIL, NAN, score, summary_of, three_cases

from medgan.report.figures import write_figures


def figures_of(scores, folder, *, metrics=("dice",), **options):
    """Write the figures of some metrics only: each takes a while."""
    kept = ("reference_ml", "prediction_ml", *metrics)
    scores = [replace(score, values={name: score[name] for name in kept}) for score in scores]
    return write_figures(scores, summary_of(scores, **options), folder)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Return the folder with the figures of three hearts, one of them missed, and seven livers."""
    folder = tmp_path_factory.mktemp("cohort")
    scores = three_cases() + [score(f"case_{i}", "liver", dice=i / 10) for i in range(7)]
    return figures_of(scores, folder, metrics=("dice", "hd95_mm"))[0].parent


def texts_of(path):
    """Return the texts of an SVG, in order."""
    return [
        "".join(element.itertext()).strip()
        for element in ElementTree.parse(path).iter()
        if element.tag.endswith("text")
    ]


def test_every_judged_metric_and_the_volumes_have_a_figure_in_both_formats(tmp_path):
    written = figures_of(three_cases(), tmp_path, metrics=("dice", "hd95_mm"))
    names = ("dice", "hd95_mm", "bland_altman")  # and none of the volumes themselves
    assert [path.name for path in written] == [f"{name}.{suffix}" for name in names for suffix in ("svg", "png")]
    assert {path.parent for path in written} == {tmp_path / "figures"}
    assert all(path.is_file() for path in written)


def test_png_is_a_page_wide_at_300_dpi(cohort):
    assert imread(cohort / "dice.png").shape[1] == pytest.approx(6.5 * 300, abs=1)


def test_svg_keeps_its_text_and_names_organ_and_counts(cohort):
    texts = texts_of(cohort / "hd95_mm.svg")
    assert "HD95 (mm)" in texts
    assert "heart" in " ".join(texts)
    assert "n 2, 1 undefined" in " ".join(texts)


def test_every_defined_case_is_a_dot(cohort):
    assert num_dots(cohort / "dice.svg") == 10
    assert num_dots(cohort / "hd95_mm.svg") == 9


def dots_of(path):
    """Return the SVG elements of the scattered dots, in the order they are drawn."""
    groups = [g for g in ElementTree.parse(path).iter() if g.get("id", "").startswith("PathCollection")]
    return [element for g in groups for drawn in g if not drawn.tag.endswith("defs") for element in marks_in(drawn)]


def marks_in(drawn):
    """Return the dots in a part of a collection: one alone is a path itself."""
    return [drawn] if drawn.tag.endswith("path") else [element for element in drawn if element.tag.endswith("use")]


def num_dots(path):
    return len(dots_of(path))


def test_organs_missed_are_hollow_dots_and_counted(tmp_path):
    scores = [*three_cases(), score("more", "liver", reference_ml=0.0, dice=0.0, hd95_mm=NAN)]
    figures_of(scores, tmp_path, metrics=("dice", "hd95_mm"))
    hollow = {
        name: sum("fill: none" in dot.get("style") for dot in dots_of(tmp_path / "figures" / f"{name}.svg"))
        for name in ("dice", "hd95_mm", "bland_altman")
    }
    assert hollow == {"dice": 2, "hd95_mm": 0, "bland_altman": 2}
    texts = {name: " ".join(texts_of(tmp_path / "figures" / f"{name}.svg")) for name in hollow}
    assert "hollow where the organ is missed or invented (in these rows 1 missed and 1 invented)" in texts["dice"]
    assert "undefined where the organ is missed or invented (in these rows 1 missed and 1 invented)" in texts["hd95_mm"]
    assert "n 3, 1 missed" in texts["dice"]
    assert "n 1, 1 invented" in texts["dice"]


def test_quartiles_and_median_lie_over_the_dots(tmp_path):
    figures_of([score(str(i), dice=i / 10) for i in range(5)], tmp_path)
    svg = (tmp_path / "figures" / "dice.svg").read_text(encoding="utf-8")
    assert svg.rindex("fill: #0072b2") < svg.index("stroke: #1f2933") < svg.index("stroke: #d55e00")


def test_many_dots_are_small_and_faint(tmp_path):
    opacity, size = {}, {}
    for count in (20, 500):
        figures_of([score(str(i), dice=i / 500) for i in range(count)], tmp_path)
        svg = (tmp_path / "figures" / "dice.svg").read_text(encoding="utf-8")
        opacity[count] = float(re.search(r"fill: #0072b2; fill-opacity: ([\d.]+)", svg)[1])
        size[count] = float(re.search(r'PathCollection_1">.*?d="M 0 ([\d.]+)', svg, re.S)[1])
    assert opacity[500] < opacity[20] / 2
    assert size[500] < size[20] / 1.5


def test_dots_at_0_are_whole(tmp_path):
    figures_of([score("a", dice=0.0), score("b", dice=0.0), score("a", "liver", dice=0.9)], tmp_path)
    path = tmp_path / "figures" / "dice.svg"
    axis = re.search(r'id="patch_2">\s*<path d="M ([\d.]+)', path.read_text(encoding="utf-8"))
    places = [float(dot.get("x")) for dot in dots_of(path)]
    assert len(places) == 3
    assert min(places) > float(axis[1]) + 3


def test_penalised_cases_are_drawn_where_they_count(tmp_path):
    figures_of(three_cases(), tmp_path, metrics=("hd95_mm",), undefined="penalise")
    assert num_dots(tmp_path / "figures" / "hd95_mm.svg") == 3
    assert "n 3, 1 penalised" in " ".join(texts_of(tmp_path / "figures" / "hd95_mm.svg"))


def test_bland_altman_names_bias_and_limits(tmp_path):
    scores = [score(str(i), prediction_ml=500.0 + error) for i, error in enumerate((-10, 0, 10, 20))]
    figures_of(scores, tmp_path)
    texts = texts_of(tmp_path / "figures" / "bland_altman.svg")
    sd = np.std([-10, 0, 10, 20], ddof=1)
    assert {"+5.0", f"+{5 + 1.96 * sd:.1f}", f"−{abs(5 - 1.96 * sd):.1f}"} <= set(texts)
    assert "heart (n 4)" in texts


def test_an_organ_in_no_case_has_no_volumes_to_agree(tmp_path):
    absent = score("a", dice=NAN, hd95_mm=NAN, surface_dice=NAN, reference_ml=0.0, prediction_ml=0.0)
    assert "bland_altman.svg" not in [path.name for path in figures_of([absent], tmp_path)]
    assert "n 0, 1 undefined" in " ".join(texts_of(tmp_path / "figures" / "dice.svg"))


def test_one_case_is_drawn_without_limits(tmp_path):
    figures_of([score("only", prediction_ml=510.0)], tmp_path)
    texts = texts_of(tmp_path / "figures" / "bland_altman.svg")
    assert "+10.0" in texts
    assert len([text for text in texts if re.fullmatch(r"[+−]\d+\.\d", text)]) == 1


def test_one_case_is_not_seen_under_a_microscope(tmp_path):
    figures_of([score("only", prediction_ml=500.01)], tmp_path)
    numbers = [text.replace("−", "-") for text in texts_of(tmp_path / "figures" / "bland_altman.svg")]
    ticks = sorted(float(text) for text in numbers if re.fullmatch(r"-?\d+(\.\d+)?", text))
    assert ticks[0] <= -2
    assert ticks[-1] - next(tick for tick in ticks if tick > 100) >= 20


def test_caption_of_one_plot_fits_it(tmp_path):
    figures_of([score("only")], tmp_path)
    assert max(map(len, texts_of(tmp_path / "figures" / "bland_altman.svg"))) < 65


def test_long_name_is_wrapped_and_covers_nothing(tmp_path):
    organ = "_".join(["vertebra"] * 14)
    figures_of([score("a", organ), score("b", organ, dice=0.5), score("a", "liver")], tmp_path)
    texts = texts_of(tmp_path / "figures" / "dice.svg")
    assert organ in "".join(texts)
    assert max(len(text) for text in texts if "vertebra" in text) <= 24
    heights = [
        place_of(tmp_path / "figures" / "dice.svg", start) for start in ("vertebra_", "liver", "Dice", "Dots: cases")
    ]
    assert all(below - above > 7 for above, below in itertools.pairwise(heights))


def place_of(path, start):
    """Return how far down the last text stands that begins so."""
    element = [
        e for e in ElementTree.parse(path).iter() if e.tag.endswith("text") and (e.text or "").startswith(start)
    ][-1]
    moved = re.match(r"translate\([\d.]+ ([\d.]+)\)", element.get("transform", ""))
    return float(moved[1]) if moved else float(element.get("y"))


def test_a_figure_grows_with_its_organs(tmp_path):
    heights = []
    for count in (2, 7):
        figures_of([score("a", f"organ_{i}") for i in range(count)], tmp_path)
        heights.append(float(ElementTree.parse(tmp_path / "figures" / "dice.svg").getroot().get("height")[:-2]))
    assert heights[1] - heights[0] == pytest.approx(5 * 0.34 * 72)


def test_the_same_scores_give_the_same_svg(cohort, tmp_path):
    scores = three_cases() + [score(f"case_{i}", "liver", dice=i / 10) for i in range(7)]
    figures_of(scores, tmp_path)
    for name in ("dice.svg", "bland_altman.svg"):
        assert (tmp_path / "figures" / name).read_bytes() == (cohort / name).read_bytes()


@pytest.mark.parametrize("organ", [EVIL, "a $x_{$ b", "症例", "<b>\n&"])
def test_any_organ_name_can_be_drawn(tmp_path, organ):
    figures_of(three_cases(organ), tmp_path)
    texts = " ".join(texts_of(tmp_path / "figures" / "dice.svg"))
    assert "".join(organ.split()) in "".join(texts.split())


def test_matplotlib_is_imported_only_to_draw():
    program = "import sys, medgan.report.figures; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
