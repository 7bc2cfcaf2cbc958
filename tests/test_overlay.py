import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread
from phantoms import oblique_affine

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.report.overlay import write_overlay
from medgan.volume.volume import Volume

RED, BLUE, YELLOW, CYAN = (255, 0, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)
LABELS = LabelMap.from_mapping(
    {
        "right": {"value": 1, "color": list(RED)},
        "left": {"value": 2, "color": list(BLUE)},
        "front": {"value": 3, "color": list(YELLOW)},
        "head": {"value": 9, "color": list(CYAN)},
    }
)
RAS = np.diag([2.0, 2.0, 2.0, 1.0])


def four_organs():
    """Return RAS labels: the patient's right, left, front and head each have their organ, the centre has none."""
    data = np.zeros((1, 40, 40, 40), np.uint8)
    data[0, 30:38, 16:24, 16:24] = 1  # i grows to the right
    data[0, 2:10, 16:24, 16:24] = 2
    data[0, 16:24, 30:38, 16:24] = 3  # j grows to the front
    data[0, 16:24, 16:24, 30:38] = 9  # k grows to the head
    return Volume(data, RAS)


def stored_otherwise(volume):
    """Return the same volume as DICOM stores it: i to the left, j to the back, axes in another order."""
    data = volume.data[:, ::-1, ::-1].transpose(0, 3, 2, 1)
    affine = np.array([[0, 0, -2, 78], [0, -2, 0, 78], [2, 0, 0, 0], [0, 0, 0, 1.0]])
    return Volume(np.ascontiguousarray(data), affine)


def picture(path):
    """Return the rows, columns and colours of a PNG, 0 to 255."""
    return (imread(path)[..., :3] * 255).round().astype(int)


def centre_of(pixels, colour):
    """Return (row, column) of the middle of what shows a colour's hue, as shares of the picture; None without it."""
    channels = np.array(colour) > 0
    strong, weak = pixels[..., channels].min(-1), pixels[..., ~channels].max(-1)
    found = np.argwhere(strong - weak > 60)
    return tuple(found.mean(0) / pixels.shape[:2]) if len(found) else None


def panels(pixels):
    """Return the three slices of a picture of a cube: axial, coronal, sagittal, without title and legend."""
    height, width = pixels.shape[:2]
    body = pixels[int(0.12 * height) : int(0.88 * height)]
    return [body[:, n * width // 3 : (n + 1) * width // 3] for n in range(3)]


@pytest.mark.parametrize("stored", [lambda v: v, stored_otherwise])
def test_patients_right_is_on_the_left_and_front_and_head_are_up(tmp_path, stored):
    write_overlay(None, stored(four_organs()), LABELS, tmp_path / "case_1.png")
    axial, coronal, sagittal = panels(picture(tmp_path / "case_1.png"))
    assert centre_of(axial, RED)[1] < 0.4 < 0.6 < centre_of(axial, BLUE)[1]
    assert centre_of(axial, YELLOW)[0] < 0.4
    assert centre_of(coronal, RED)[1] < 0.4 < 0.6 < centre_of(coronal, BLUE)[1]
    assert centre_of(coronal, CYAN)[0] < 0.4
    assert centre_of(sagittal, CYAN)[0] < 0.4
    assert centre_of(sagittal, YELLOW)[1] < 0.4  # front on the left


def box(*, shift=0, value=1, size=10):
    """Return RAS labels with one cube, moved along i."""
    data = np.zeros((1, 40, 40, 40), np.uint8)
    data[0, 15 + shift : 15 + shift + size, 15 : 15 + size, 15 : 15 + size] = value
    return Volume(data, RAS)


def test_prediction_is_a_solid_line_in_its_colour_with_a_faint_fill(tmp_path):
    write_overlay(None, box(), LABELS, tmp_path / "case.png")
    axial = panels(picture(tmp_path / "case.png"))[0]
    rows, columns = np.nonzero((axial[..., 0] > 40) & (axial[..., 1] == 0))
    inside = axial[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert tuple(inside[len(inside) // 2, len(inside) // 2]) == pytest.approx((51, 0, 0), abs=2)  # 20% red on black
    assert inside[1, 20:-20].tolist() == [[255, 0, 0]] * (inside.shape[1] - 40)


def test_reference_is_a_line_of_white_dashes_and_nothing_inside(tmp_path):
    empty = Volume(np.zeros((1, 40, 40, 40), np.uint8), RAS)
    write_overlay(None, empty, LABELS, tmp_path / "case.png", reference=box())
    axial = panels(picture(tmp_path / "case.png"))[0]
    body = axial[40:-40, 40:-40]  # without captions
    is_white, is_red = (body == 255).all(-1), (body == (255, 0, 0)).all(-1)  # the gaps show the organ
    upper = int(np.argmax((is_white | is_red).sum(1)))
    assert 0.3 < is_white[upper].sum() / (is_white | is_red)[upper].sum() < 0.7
    rows, columns = np.nonzero(is_white)
    assert not body[rows.min() + 6 : rows.max() - 5, columns.min() + 6 : columns.max() - 5].any()


def test_legend_says_which_is_which_only_where_there_are_two(tmp_path):
    write_overlay(None, box(), LABELS, tmp_path / "one.png")
    write_overlay(None, box(), LABELS, tmp_path / "two.png", reference=box())
    one, two = (picture(tmp_path / f"{name}.png")[-30:] for name in ("one", "two"))
    assert np.ptp(np.nonzero(two.any((0, 2)))) > 1.4 * np.ptp(np.nonzero(one.any((0, 2))))


def test_pixels_have_the_shape_of_their_voxels(tmp_path):
    data = np.zeros((1, 40, 40, 1), np.uint8)
    data[0, 10:30, 10:30] = 1
    write_overlay(None, Volume(data, np.diag([1.0, 3.0, 5.0, 1.0])), LABELS, tmp_path / "case.png")
    pixels = picture(tmp_path / "case.png")[:-40]
    found = np.argwhere((pixels[..., 0] > 40) & (pixels[..., 2] < 30))
    height, width = np.ptp(found, axis=0)
    assert height / width == pytest.approx(3, rel=0.03)


def test_2d_image_shows_its_plane_only(tmp_path):
    data = four_organs().data[..., 20:21]
    write_overlay(None, Volume(data, RAS), LABELS, tmp_path / "flat.png")
    pixels = picture(tmp_path / "flat.png")
    assert centre_of(pixels[:-60], RED)[1] < 0.4 < 0.6 < centre_of(pixels[:-60], BLUE)[1]
    assert pixels.shape[0] > 0.9 * pixels.shape[1]


def test_ct_with_lungs_is_shown_in_a_window_that_shows_them(tmp_path):
    organs = four_organs()
    hu = np.full(organs.data.shape, -1000, np.int16)
    hu[0, 2:38, 2:38, 2:38] = 40
    lungs = np.where((organs.data > 0), -800, hu)
    shades = {}
    for name, data in (("lung", lungs), ("soft", hu)):
        write_overlay(Volume(data, RAS), organs, LABELS, tmp_path / f"{name}.png")
        axial = panels(picture(tmp_path / f"{name}.png"))[0]
        shades[name] = axial[axial.shape[0] // 2, axial.shape[1] // 2, 0]
    assert shades["lung"] == pytest.approx(255 * (40 + 1150) / 1500, abs=4)
    assert shades["soft"] == pytest.approx(255 * (40 + 160) / 400, abs=4)


def test_images_that_are_not_ct_are_shown_between_percentiles(tmp_path):
    organs = four_organs()
    ramp = np.broadcast_to(np.linspace(0, 5e-3, 40, dtype=np.float32)[None, None, :, None], organs.data.shape)
    write_overlay(Volume(ramp, RAS), organs, LABELS, tmp_path / "mr.png")
    axial = panels(picture(tmp_path / "mr.png"))[0]
    column = axial[:, axial.shape[1] * 3 // 10].min(-1)
    assert column.max() > 200
    assert column.min() < 30


@pytest.mark.parametrize("data", [np.zeros((1, 5, 6, 7)), np.full((1, 5, 6, 7), np.nan)])
def test_nothing_to_show_is_still_a_picture(tmp_path, data):
    empty = Volume(np.zeros((1, 5, 6, 7), np.uint8), oblique_affine())
    write_overlay(Volume(data, oblique_affine()), empty, LABELS, tmp_path / "case.png", reference=empty)
    assert picture(tmp_path / "case.png").shape[0] > 100


def test_any_case_id_can_be_a_title(tmp_path):
    for name in ("a $x_{$ b", "症例", "<b>", "x" * 240):
        write_overlay(None, four_organs(), LABELS, tmp_path / f"{name}.png")
        assert picture(tmp_path / f"{name}.png")[:30].max() > 200


def test_a_picture_does_not_wait_for_matplotlib(tmp_path):
    program = (
        "import sys, numpy as np; from medgan.labels import LabelMap; from medgan.report.overlay import write_overlay; "
        "from medgan.volume.volume import Volume; volume = Volume(np.ones((1, 9, 9, 9), np.uint8), np.eye(4)); "
        "write_overlay(None, volume, LabelMap.from_mapping({'a': 1}), sys.argv[1]); print('matplotlib' in sys.modules)"
    )
    path = tmp_path / "a.png"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert path.is_file()


def test_picture_shows_the_surroundings_of_the_organs_only(tmp_path):
    data = np.zeros((1, 100, 100, 100), np.uint8)
    data[0, 70:80, 70:80, 70:80] = 1
    write_overlay(None, Volume(data, RAS), LABELS, tmp_path / "case.png")
    axial = panels(picture(tmp_path / "case.png"))[0]
    share = np.mean(axial[..., 0] > 40)
    assert share == pytest.approx((20 / (20 + 2 * 20)) ** 2, rel=0.25)  # 20 mm, with 20 mm around it


def test_different_outlines_stay_small_files(tmp_path):
    noise = np.random.default_rng(0).integers(-200, 300, (1, 200, 200, 60)).astype(np.int16)
    labels = np.zeros(noise.shape, np.uint8)
    labels[0, 5:-5, 5:-5, 5:-5] = 1
    write_overlay(Volume(noise, RAS), Volume(labels, RAS), LABELS, tmp_path / "case.png", reference=Volume(labels, RAS))
    assert (tmp_path / "case.png").stat().st_size < 350_000  # noise in every pixel; CT stays below 250 kB


def test_volumes_on_different_grids_are_refused(tmp_path):
    image = Volume(np.zeros((1, 40, 40, 39), np.float32), RAS)
    with pytest.raises(MedganError, match="image and prediction must be on one grid, found 40x40x39"):
        write_overlay(image, four_organs(), LABELS, tmp_path / "case.png")
    assert not list(tmp_path.iterdir())


def test_unknown_labels_are_refused(tmp_path):
    volume = Volume(np.full((1, 4, 4, 4), 5, np.uint8), RAS)
    with pytest.raises(MedganError, match=r"case\.png: label values \[5\] are not in the label map"):
        write_overlay(None, volume, LABELS, tmp_path / "case.png")
