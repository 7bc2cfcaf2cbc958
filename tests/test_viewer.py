import base64
import gzip
import hashlib
import json

import nibabel as nib
import numpy as np
import pytest
from phantoms import box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.report import viewer
from medgan.report.page import inline_hash
from medgan.report.viewer import viewer_data, viewer_script, write_viewer_volumes
from medgan.volume.volume import Volume

LABELS = LabelMap.from_mapping({"left": 1, "right": 2, "top": {"value": 3, "color": [1, 2, 3]}, "unseen": 4})
NIIVUE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"  # of the npm package's file
LAYERS = ["image", "prediction", "reference"]


def write(folder, *, image="boxes", shape=(12, 10, 8), affine=None, case_id="a"):
    """Write a case of three boxes, prediction equal to the reference, and return its folder."""
    label = box_volume(shape, affine, labels=True)
    shown = box_volume(shape, affine) if image == "boxes" else image
    return write_viewer_volumes(shown, label, label, LABELS, folder, case_id=case_id)


def facts_of(folder):
    return json.loads((folder / "case.json").read_text(encoding="utf-8"))


def read(folder, layer):
    return nib.load(folder / f"{layer}.nii.gz")


def middle_mm(volume, number):
    """Return where the middle of a box lies."""
    voxels = np.argwhere(np.asarray(volume.dataobj) == number)
    return volume.affine[:3, :3] @ voxels.mean(axis=0) + volume.affine[:3, 3]


def test_small_case_is_kept_voxel_by_voxel_in_whole_hu(tmp_path):
    case = write(tmp_path, affine=oblique_affine())
    hu, label = box_volume(affine=oblique_affine()), box_volume(labels=True)
    assert read(case, "image").get_data_dtype() == np.int16
    np.testing.assert_array_equal(read(case, "image").get_fdata(), hu.data[0])
    np.testing.assert_array_equal(np.asarray(read(case, "prediction").dataobj), label.data[0])
    np.testing.assert_allclose(read(case, "reference").affine, oblique_affine(), atol=1e-4)


def test_facts_name_the_organs_that_occur(tmp_path):
    facts = facts_of(write(tmp_path))
    assert [organ["name"] for organ in facts["organs"]] == ["left", "right", "top"]
    assert facts["organs"][2]["color"] == [1, 2, 3]
    assert facts["source_size"] == facts["size"] == [12, 10, 8]
    assert facts["source_spacing_mm"] == [1.5, 2.0, 3.0]


def test_facts_tell_the_voxel_of_a_position_in_the_case_however_it_is_cropped(tmp_path, monkeypatch):
    monkeypatch.setattr(viewer, "MAX_VOXELS", 500)
    facts = facts_of(write(tmp_path, affine=oblique_affine()))
    assert facts["size"] != facts["source_size"]
    voxel = np.asarray(facts["voxel_of_mm"]) @ oblique_affine() @ (3, 4, 5, 1)
    np.testing.assert_allclose(voxel, (3, 4, 5), atol=1e-9)


@pytest.mark.parametrize(("shape", "is_flat"), [((12, 10, 8), False), ((12, 10, 1), True)])
def test_image_of_one_slice_is_flat(tmp_path, shape, is_flat):
    write(tmp_path, shape=shape)
    assert viewer_data(tmp_path, ["a"])[0].is_flat == is_flat


def test_classes_are_numbered_as_the_facts_list_them(tmp_path):
    label = box_volume(labels=True)
    only = Volume(np.where(label.data == 3, 3, 0).astype(np.uint8), label.affine)
    case = write_viewer_volumes(None, only, only, LABELS, tmp_path, case_id="a")
    assert [organ["value"] for organ in facts_of(case)["organs"]] == [3]
    assert np.unique(np.asarray(read(case, "reference").dataobj)).tolist() == [0, 1]


def test_point_inside_an_organ_lies_inside_it(tmp_path):
    case = write(tmp_path, affine=oblique_affine())
    for number, organ in enumerate(facts_of(case)["organs"], start=1):
        voxel = np.linalg.solve(oblique_affine(), [*organ["inside_mm"], 1.0])[:3]
        assert np.asarray(read(case, "reference").dataobj)[tuple(np.rint(voxel).astype(int))] == number


def test_large_case_is_cropped_to_its_organs_before_it_is_coarsened(tmp_path, monkeypatch):
    label = np.zeros((1, 60, 60, 60), np.uint8)
    label[0, 40:44, 30:34, 20:24] = 2
    reference = Volume(label, np.diag([2.0, 2.0, 2.0, 1.0]))
    monkeypatch.setattr(viewer, "MAX_VOXELS", 24**3)
    case = write_viewer_volumes(None, reference, reference, LABELS, tmp_path, case_id="a")
    assert read(case, "reference").shape == (24, 24, 24)  # 4 voxels and 20 mm on either side
    np.testing.assert_allclose(middle_mm(read(case, "reference"), 1), [83.0, 63.0, 43.0])


@pytest.mark.parametrize("affine", [np.diag([1.0, 1.0, 4.0, 1.0]), oblique_affine(left_handed=True)])
def test_coarsened_case_stays_in_place_and_within_the_limit(tmp_path, monkeypatch, affine):
    whole = read(write(tmp_path / "whole", shape=(60, 50, 30), affine=affine), "reference")
    monkeypatch.setattr(viewer, "MAX_VOXELS", 9000)
    monkeypatch.setattr(viewer, "_MARGIN_MM", 500.0)
    coarse = read(write(tmp_path, shape=(60, 50, 30), affine=affine), "reference")
    assert 4000 < np.prod(coarse.shape) <= 9000
    for number in (1, 2, 3):
        shift = np.linalg.norm(middle_mm(coarse, number) - middle_mm(whole, number))
        assert shift < max(np.linalg.norm(coarse.affine[:3, :3], axis=0)) / 2


def test_finest_axes_are_coarsened_first(tmp_path, monkeypatch):
    monkeypatch.setattr(viewer, "MAX_VOXELS", 60 * 60 * 20 // 4)
    monkeypatch.setattr(viewer, "_MARGIN_MM", 500.0)
    case = write(tmp_path, shape=(60, 60, 20), affine=np.diag([1.0, 1.0, 5.0, 1.0]))
    assert read(case, "image").shape == (30, 30, 20)
    assert facts_of(case)["spacing_mm"] == pytest.approx([2.0, 2.0, 5.0])
    assert facts_of(case)["source_spacing_mm"] == [1.0, 1.0, 5.0]


def test_image_that_packs_badly_is_coarsened_until_it_is_small(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(-1000, 1000, (1, 40, 40, 40)).astype(np.float32)
    monkeypatch.setattr(viewer, "MAX_IMAGE_BYTES", 40_000)
    case = write(tmp_path, shape=(40, 40, 40), image=Volume(noise, np.diag([1.5, 2.0, 3.0, 1.0])))
    assert 20_000 < (case / "image.nii.gz").stat().st_size <= 40_000
    assert read(case, "image").shape == read(case, "reference").shape


def test_coarsened_image_is_averaged_to_whole_hu(tmp_path, monkeypatch):
    stripes = np.zeros((1, 16, 16, 16), np.float32)
    stripes[:, ::2] = 100.0
    monkeypatch.setattr(viewer, "MAX_VOXELS", 8**3)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    empty = Volume(np.zeros(stripes.shape, np.uint8), affine)
    case = write_viewer_volumes(Volume(stripes, affine), empty, empty, LABELS, tmp_path, case_id="a")
    np.testing.assert_allclose(read(case, "image").get_fdata(), 50.0)


def test_image_of_fractions_keeps_its_values(tmp_path):
    values = np.linspace(0, 1, 960, dtype=np.float32).reshape(1, 12, 10, 8)
    case = write(tmp_path, image=Volume(values, np.diag([1.5, 2.0, 3.0, 1.0])))
    assert read(case, "image").get_data_dtype() == np.int16
    np.testing.assert_allclose(read(case, "image").get_fdata(), values[0], atol=1e-5)
    assert not facts_of(case)["is_ct"]


def test_constant_image_keeps_its_value(tmp_path):
    case = write(tmp_path, image=Volume(np.full((1, 12, 10, 8), 0.25, np.float32), np.diag([1.5, 2.0, 3.0, 1.0])))
    np.testing.assert_allclose(read(case, "image").get_fdata(), 0.25)


def test_ct_is_shown_in_a_window_for_its_organs(tmp_path):
    facts = facts_of(write(tmp_path))
    assert facts["is_ct"]
    assert facts["window"] == [-160.0, 240.0]


def test_ct_of_lungs_is_shown_in_the_lung_window(tmp_path):
    hu = box_volume()
    lungs = Volume(np.where(hu.data > -500, np.float32(-800), hu.data), hu.affine)
    lungs.data[0, 0, 0, 0] = 50
    assert facts_of(write(tmp_path, image=lungs))["window"] == [-1150.0, 350.0]


def test_flat_image_stays_flat(tmp_path, monkeypatch):
    monkeypatch.setattr(viewer, "MAX_VOXELS", 500)
    monkeypatch.setattr(viewer, "_MARGIN_MM", 500.0)
    assert read(write(tmp_path, shape=(40, 30, 1)), "image").shape[2] == 1


def test_more_than_255_organs_fit(tmp_path):
    many = LabelMap.from_mapping({f"organ_{value}": value for value in range(1, 301)})
    label = Volume(np.arange(320, dtype=np.uint16).clip(max=300).reshape(1, 8, 8, 5), np.eye(4))
    case = write_viewer_volumes(None, label, label, many, tmp_path, case_id="a")
    np.testing.assert_array_equal(np.asarray(read(case, "prediction").dataobj), label.data[0])


def test_without_an_image_the_old_one_goes(tmp_path):
    write(tmp_path)
    case = write(tmp_path, image=None)
    assert sorted(path.name for path in case.iterdir()) == ["case.json", "prediction.nii.gz", "reference.nii.gz"]
    assert facts_of(case)["window"] is None


def test_files_carry_no_text_of_their_own(tmp_path):
    header = read(write(tmp_path), "image").header
    assert [header[name].item() for name in ("descrip", "aux_file", "intent_name", "db_name")] == [b""] * 4
    assert not header.extensions


def test_other_grid_is_refused(tmp_path):
    label = box_volume(labels=True)
    with pytest.raises(MedganError, match=r"viewer of case a: image and reference must be on one grid, found 9x10x8"):
        write_viewer_volumes(box_volume((9, 10, 8)), label, label, LABELS, tmp_path, case_id="a")


def test_data_holds_the_files_of_the_cases_in_the_order_given(tmp_path):
    folders = [write(tmp_path, case_id=case_id) for case_id in ("a<b>", "b", "unasked")]
    cases = viewer_data(tmp_path, ["unseen", "b", "a<b>"])
    assert [case.case_id for case in cases] == ["b", "a<b>"]
    assert sorted(cases[0].volumes) == LAYERS
    assert base64.b64decode(cases[0].volumes["image"]) == (folders[1] / "image.nii.gz").read_bytes()


def test_no_folder_means_no_cases(tmp_path):
    assert viewer_data(tmp_path / "viewer", ["a"]) == []


def test_case_whose_writing_broke_off_is_not_there(tmp_path):
    (write(tmp_path) / "case.json").unlink()
    assert viewer_data(tmp_path, ["a"]) == []


def test_case_with_a_missing_file_is_refused(tmp_path):
    (write(tmp_path) / "prediction.nii.gz").unlink()
    with pytest.raises(MedganError, match=r"a must hold the viewer's volumes .* Run `medgan evaluate` with --view"):
        viewer_data(tmp_path, ["a"])


def test_damaged_facts_are_refused(tmp_path):
    (write(tmp_path) / "case.json").write_text("[]")
    with pytest.raises(MedganError, match="damaged or incomplete"):
        viewer_data(tmp_path, ["a"])


def test_niivue_is_the_published_file_and_the_policy_admits_it_by_its_hash():
    script = viewer_script()
    niivue = gzip.decompress(base64.b64decode(script.packed))
    assert hashlib.sha256(niivue).hexdigest() == NIIVUE_SHA256
    assert script.directives["script-src"] == f"{inline_hash(script.script)} {inline_hash(niivue.decode())}"


def test_policy_admits_no_network_and_no_evaluation():
    sources = " ".join(viewer_script().directives.values()).split()
    assert all(source == "data:" or source.startswith("'sha256-") for source in sources)


def test_licences_travel_with_niivue():
    text = viewer_script().license
    assert "Copyright (c) 2021, Niivue" in text
    for holder in ("Arjun Barrett", "Brandon Jones", "RII-UTHSCSA", "Trevor Manz", "Luke Edwards", "Jonathan Ong"):
        assert holder in text
