"""Which prediction belongs to which reference."""

import json
from pathlib import Path

import pytest
from test_inputs import DICOM_HEAD, make_files, make_rtstruct, write_cohort

from medgan.errors import MedganError
from medgan.manifest.pairs import Pair, pair_cases


def named(folder: Path, *names: str) -> Path:
    make_files(folder, *names)
    return folder


def test_two_files_are_a_pair(tmp_path: Path) -> None:
    make_files(tmp_path, "reference.nii", "prediction.mha")
    reference, prediction = tmp_path / "reference.nii", tmp_path / "prediction.mha"
    pairing = pair_cases(reference, prediction)
    assert (pairing.pairs, pairing.unpaired) == ((Pair("reference", reference, prediction),), {})


def test_folders_pair_by_name(tmp_path: Path) -> None:
    reference = named(tmp_path / "reference", "a.nii.gz", "b.png")
    out = named(tmp_path / "out", "a.mha", "b.png")
    pairs = pair_cases(reference, out).pairs
    assert [(pair.case_id, pair.prediction) for pair in pairs] == [("a", out / "a.mha"), ("b", out / "b.png")]


def test_missing_partner_on_either_side_is_told_and_the_others_are_paired(tmp_path: Path) -> None:
    reference = named(tmp_path / "reference", "a.nii.gz", "b.nii.gz")
    out = named(tmp_path / "out", "b.nii.gz", "c.nii.gz")
    pairing = pair_cases(reference, out)
    assert [pair.case_id for pair in pairing.pairs] == ["b"]
    assert pairing.unpaired == {
        "a": "no prediction is named for it.",
        "c": "no reference is named for its prediction c.nii.gz.",
    }


def test_what_lies_beside_predictions_and_is_none_is_left_alone(tmp_path: Path) -> None:
    others = ("plans.json", "dataset.json", "a.json", "scores.csv", "progress.png", "b.npz", ".c.nii.gz", "README")
    pairing = pair_cases(named(tmp_path / "ref", "a.nii.gz"), named(tmp_path / "out", "a.nii.gz", *others))
    assert (len(pairing.pairs), pairing.unpaired) == (1, {})


def test_picture_without_reference_is_told_where_references_are_pictures(tmp_path: Path) -> None:
    pairing = pair_cases(named(tmp_path / "ref", "a.png"), named(tmp_path / "out", "a.png", "b.png"))
    assert pairing.unpaired == {"b": "no reference is named for its prediction b.png."}


def test_manifest_pairs_its_labels_and_images(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path)
    out = named(tmp_path / "out", "case_a.nii.gz", "case_c.nii", "case_a.json", "case_x.nii")
    pairing = pair_cases(manifest, out)
    assert pairing.pairs[0] == Pair(
        "case_a", tmp_path / "labels/a.nii.gz", out / "case_a.nii.gz", image=tmp_path / "images/a.nii.gz"
    )
    assert [pair.case_id for pair in pairing.pairs] == ["case_a", "case_c"]
    assert pairing.unpaired == {
        "case_b": "no prediction is named for it.",
        "case_x": "no reference is named for its prediction case_x.nii.",
    }


def test_predictions_of_other_splits_of_a_manifest_are_expected(tmp_path: Path) -> None:
    out = named(tmp_path / "out", "case_a.nii.gz", "case_c.nii", "stray.nii")
    pairing = pair_cases(write_cohort(tmp_path), out, split="test")
    assert [pair.case_id for pair in pairing.pairs] == ["case_c"]
    assert set(pairing.unpaired) == {"stray"}


def test_case_without_label_in_the_manifest_is_told(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii", "b.nii", "label.nii", "out/a.nii", "out/b.nii")
    (tmp_path / "m.csv").write_text("case_id,image,label,split\na,a.nii,label.nii,test\nb,b.nii,,\n")
    pairing = pair_cases(tmp_path / "m.csv", tmp_path / "out")
    assert [pair.case_id for pair in pairing.pairs] == ["a"]
    assert pairing.unpaired == {"b": "the manifest gives it no label."}


def test_pair_knows_which_series_its_image_is(tmp_path: Path) -> None:
    make_files(tmp_path, "scan/1.dcm", "label.nii", "out/a.nii", "images/a.nii", content=DICOM_HEAD)
    (tmp_path / "m.csv").write_text("case_id,image,label,split,series\na,scan,label.nii,test,1.2.3#2\n")
    assert pair_cases(tmp_path / "m.csv", tmp_path / "out").pairs[0].series == "1.2.3#2"
    other = pair_cases(tmp_path / "m.csv", tmp_path / "out", images=tmp_path / "images").pairs[0]
    assert (other.image, other.series) == (tmp_path / "images/a.nii", "")


def test_folder_of_dicom_labels_is_a_reference_for_each_of_its_files(tmp_path: Path) -> None:
    references = [tmp_path / "ref" / name for name in ("a.rtstruct.dcm", "b.dcm", "c")]
    for path in references:
        make_rtstruct(path)
    make_files(tmp_path, "ref/a.json", "out/a.nii", "out/b.seg.dcm", "out/c.nii")
    pairs = pair_cases(tmp_path / "ref", tmp_path / "out").pairs
    assert [(pair.case_id, pair.reference) for pair in pairs] == list(zip("abc", references, strict=True))
    assert [pair.prediction.name for pair in pairs] == ["a.nii", "b.seg.dcm", "c.nii"]


@pytest.mark.parametrize("inner", ["", "segmentations/"])
def test_sub_folders_of_masks_are_cases(tmp_path: Path, inner: str) -> None:
    make_files(tmp_path / "ref", *[f"s000{n}/{inner}{organ}.nii.gz" for n in (1, 2, 3) for organ in ("heart", "liver")])
    make_files(tmp_path / "out", "s0001/heart.nii.gz", "s0002/segmentations/heart.nii.gz", "s0002/notes.txt")
    make_files(tmp_path, "ref/s0002/segmentations/heart.nii.gz", "ref/meta.csv", "ref/preview.png", "out/s0004/x.txt")
    pairing = pair_cases(tmp_path / "ref", tmp_path / "out")
    assert [pair.case_id for pair in pairing.pairs] == ["s0001", "s0002"]
    assert pairing.pairs[0].reference == tmp_path / "ref" / "s0001" / inner
    assert [pair.prediction for pair in pairing.pairs] == [
        tmp_path / "out/s0001",
        tmp_path / "out/s0002/segmentations",
    ]
    assert pairing.unpaired == {"s0003": "no prediction is named for it."}


def test_image_beside_a_case_of_masks_is_its_image(tmp_path: Path) -> None:
    make_files(tmp_path / "ref" / "s1", "ct.nii.gz", "segmentations/heart.nii.gz")
    make_files(tmp_path / "out" / "s1", "heart.nii.gz")
    assert pair_cases(tmp_path / "ref", tmp_path / "out").pairs[0].image == tmp_path / "ref/s1/ct.nii.gz"


@pytest.mark.parametrize("reference", ["s1", "s1/segmentations"])
def test_one_case_of_masks_is_one_case(tmp_path: Path, reference: str) -> None:
    make_files(tmp_path, "s1/ct.nii.gz", "s1/segmentations/heart.nii.gz", "s1/segmentations/liver.nii.gz")
    make_files(tmp_path, "mine/heart.nii.gz", "theirs/s1/heart.nii.gz", "s1_masks.nii.gz")
    for prediction in ("mine", "theirs/s1", "s1_masks.nii.gz"):
        expected = Pair("s1", tmp_path / "s1/segmentations", tmp_path / prediction, image=tmp_path / "s1" / "ct.nii.gz")
        assert pair_cases(tmp_path / reference, tmp_path / prediction).pairs == (expected,)
    assert pair_cases(tmp_path / reference, tmp_path / "theirs").pairs[0].prediction == tmp_path / "theirs/s1"


def test_images_are_found_by_name_and_by_that_of_nnunet(tmp_path: Path) -> None:
    names = [f"case_0{n}.nii.gz" for n in (1, 2, 3, 4)]
    reference, out = named(tmp_path / "labelsTs", *names, "dataset.json"), named(tmp_path / "out", *names)
    images = named(tmp_path / "imagesTs", "case_01_0000.nii.gz", "case_01_0001.nii.gz", "case_02.mha", "x.nii.gz")
    make_files(images, "case_03/IM1.dcm", content=DICOM_HEAD)
    pairs = pair_cases(reference, out, images=images).pairs
    assert [pair.image for pair in pairs] == [
        images / "case_01_0000.nii.gz",
        images / "case_02.mha",
        images / "case_03",
        None,
    ]
    with pytest.raises(MedganError, match=r"none is named for a case, as in case_01\.nii\.gz or case_01_0000\.nii\.gz"):
        pair_cases(reference, out, images=named(tmp_path / "others", "x.nii.gz"))
    with pytest.raises(MedganError, match=r"image .* is of one case, but there are 4"):
        pair_cases(reference, out, images=images / "x.nii.gz")
    with pytest.raises(MedganError, match="gone: no such file or folder"):
        pair_cases(reference, out, images=tmp_path / "gone")


def test_image_and_region_of_the_only_case_may_have_any_name(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii", "b.nii", "ct/1.dcm", "region.nii", content=DICOM_HEAD)
    pairing = pair_cases(
        tmp_path / "a.nii", tmp_path / "b.nii", images=tmp_path / "ct", regions=tmp_path / "region.nii"
    )
    assert pairing.pairs[0].image == tmp_path / "ct"
    assert pairing.pairs[0].region == tmp_path / "region.nii"


def test_case_without_its_region_is_not_paired(tmp_path: Path) -> None:
    reference, out = (named(tmp_path / name, "a.nii", "b.nii", "c.nii") for name in ("ref", "out"))
    regions = named(tmp_path / "regions", "a.mha", "c.nii", "c.mha")
    pairing = pair_cases(reference, out, regions=regions)
    assert [pair.region for pair in pairing.pairs] == [regions / "a.mha"]
    assert pairing.unpaired == {
        "b": "no region is named for it.",
        "c": "its region: two files are named for it, c.mha and c.nii; keep one.",
    }


def test_of_the_files_of_one_prediction_the_first_listed_counts(tmp_path: Path) -> None:
    make_files(tmp_path, "ref/a.nii", "out/a.nii.gz", "out/a.seg.nrrd", "out/a.seg.dcm", "out/a.rtstruct.dcm")
    record = {"files": {"nifti": "a.nii.gz", "seg.nrrd": "a.seg.nrrd", "dicom-seg": "a.seg.dcm"}}
    (tmp_path / "out" / "a.json").write_text(json.dumps(record))
    assert pair_cases(tmp_path / "ref", tmp_path / "out").pairs[0].prediction == tmp_path / "out" / "a.nii.gz"
    (tmp_path / "out" / "a.nii.gz").unlink()
    assert pair_cases(tmp_path / "ref", tmp_path / "out").pairs[0].prediction == tmp_path / "out" / "a.seg.nrrd"


@pytest.mark.parametrize("text", ["{}", '{"files": {"nifti": "b.nii.gz"}}', '{"files": ["a.nii.gz"]}', "[]", "{"])
def test_files_that_no_record_makes_one_are_two(tmp_path: Path, text: str) -> None:
    make_files(tmp_path, "ref/a.nii", "ref/b.nii", "out/a.nii.gz", "out/a.seg.nrrd", "out/b.nii")
    (tmp_path / "out" / "a.json").write_text(text)
    pairing = pair_cases(tmp_path / "ref", tmp_path / "out")
    reason = "its prediction: two files are named for it, a.nii.gz and a.seg.nrrd; keep one."
    assert pairing.unpaired == {"a": reason}


def test_references_that_clash_are_told(tmp_path: Path) -> None:
    names = ("a.nii", "a.mha", "CT.nii", "ct.mha", "=1.nii", "fine.nii")
    pairing = pair_cases(named(tmp_path / "ref", *names), named(tmp_path / "out", "fine.nii"))
    assert [pair.case_id for pair in pairing.pairs] == ["fine"]
    assert pairing.unpaired["a"] == "two files are named for it, a.mha and a.nii; keep one."
    assert pairing.unpaired["ct"] == "the names CT and ct are one to many file systems; rename all but one."
    assert pairing.unpaired["=1"].startswith("case_id '=1' is not allowed")
    assert pairing.unpaired["=1"].endswith("rename =1.nii, or list it in a CSV with a case_id of its own.")


@pytest.mark.parametrize("name", ["a.seg.nrrd", "a.seg.dcm", "a.labelmap.dcm", "a.rtstruct.dcm"])
def test_derived_object_alone_is_a_prediction(tmp_path: Path, name: str) -> None:
    make_files(tmp_path, "ref/a.nii", f"out/{name}")
    assert pair_cases(tmp_path / "ref", tmp_path / "out").pairs[0].prediction == tmp_path / "out" / name


def test_nothing_that_pairs_is_refused_with_an_example_of_each_side(tmp_path: Path) -> None:
    reference, out = named(tmp_path / "ref", "a.nii.gz"), named(tmp_path / "out", "a_pred.nii.gz", "b_pred.nii.gz")
    message = (
        r"^no prediction is named for a reference: references are named as in a\.nii\.gz, predictions as in "
        r"a_pred\.nii\.gz\. Give both files of a case one name, or list them in a CSV with the columns case_id, "
        r"reference, prediction\.$"
    )
    with pytest.raises(MedganError, match=message):
        pair_cases(reference, out)


def test_what_cannot_be_paired_is_refused(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path)
    make_files(tmp_path, "one.nii", "twice/case_a.nii", "twice/case_a.nii.gz", "empty/notes.txt")
    with pytest.raises(MedganError, match="is one file, but the reference has 3 cases"):
        pair_cases(manifest, tmp_path / "one.nii")
    with pytest.raises(MedganError, match="case case_a: its prediction: two files are named for it"):
        pair_cases(manifest, tmp_path / "twice")
    with pytest.raises(MedganError, match="no such file or folder"):
        pair_cases(manifest, tmp_path / "gone")
    with pytest.raises(MedganError, match=r"reference .*empty: holds no label volume"):
        pair_cases(tmp_path / "empty", tmp_path / "twice")
    with pytest.raises(MedganError, match="needs predictions to compare with"):
        pair_cases(manifest)
    with pytest.raises(MedganError, match="split 'test': needs a manifest"):
        pair_cases(tmp_path / "twice", tmp_path / "twice", split="test")


def test_root_of_what_names_no_paths_is_refused(tmp_path: Path) -> None:
    folders = named(tmp_path / "ref", "a.nii"), named(tmp_path / "out", "a.nii")
    with pytest.raises(MedganError, match=r"root .*: needs a manifest or a table as the reference; files and folders"):
        pair_cases(*folders, root=tmp_path)


def write_table(folder: Path, *rows: str, header: str = "case_id,reference,prediction") -> Path:
    (folder / "pairs.csv").write_text("\n".join([header, *rows]))
    return folder / "pairs.csv"


def test_table_pairs_what_it_names(tmp_path: Path) -> None:
    make_files(tmp_path, "ref/x.nii", "net/y.nii", "ct.nii", "body.nii", "masks/heart.nii")
    header = "case_id,prediction,reference,image,region"
    table = write_table(tmp_path, "a,net/y.nii,ref/x.nii,ct.nii,body.nii", "b,masks,ref/x.nii,,", header=header)
    first, second = pair_cases(table).pairs
    assert first == Pair(
        "a", tmp_path / "ref/x.nii", tmp_path / "net/y.nii", image=tmp_path / "ct.nii", region=tmp_path / "body.nii"
    )
    assert second == Pair("b", tmp_path / "ref/x.nii", tmp_path / "masks")


def test_file_missing_from_a_table_costs_its_case_only(tmp_path: Path) -> None:
    make_files(tmp_path, "x.nii")
    pairing = pair_cases(write_table(tmp_path, "a,x.nii,x.nii", "b,x.nii,", "c,,", "d,x.nii,gone.nii"))
    assert [pair.case_id for pair in pairing.pairs] == ["a"]
    assert pairing.unpaired == {
        "b": "the table names no prediction for it.",
        "c": "the table names no reference and no prediction for it.",
        "d": "the prediction gone.nii that the table names cannot be found.",
    }


def test_all_problems_of_a_table_are_listed(tmp_path: Path) -> None:
    make_files(tmp_path, "in/x.nii", "outside.nii")
    rows = ("a,x.nii,x.nii", "A,x.nii,x.nii", "=1,x.nii,../outside.nii", ",x.nii,\0")
    with pytest.raises(MedganError) as caught:
        pair_cases(write_table(tmp_path / "in", *rows))
    text = str(caught.value)
    assert text.startswith(f"table {tmp_path / 'in' / 'pairs.csv'}: 6 problems:")
    assert "duplicate case_id: row 2 (a), row 3 (A)" in text
    assert "the same pair stands twice: row 2 (a), row 3 (A)" in text
    assert "row 4 (=1): case_id '=1' is not allowed" in text
    assert "row 4 (=1): prediction" in text
    assert "outside the data folder" in text
    assert "row 5: case_id must not be empty" in text
    assert "embedded null" in text
    make_files(tmp_path, "in/y.nii")
    assert pair_cases(write_table(tmp_path / "in", "a,y.nii,../outside.nii"), root=tmp_path).pairs[0].case_id == "a"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("case_id,reference", "column 'prediction' is missing"),
        ("case_id,reference,prediction,imgae", "column 'imgae' is unknown; did you mean 'image'"),
        ("case_id,reference,prediction,prediction", "column 'prediction' stands in the header twice"),
        ("case_id,reference,prediction", "is empty; it must hold at least one case"),
        ("case_id;reference;prediction", r"pairs\.csv: cells must be separated by commas, found ';' in the header\.$"),
        ("case_id\treference\tprediction", r"cells must be separated by commas, found '\\t' in the header\.$"),
        ("case_id,Reference,prediction", r"pairs\.csv: column 'Reference' is unknown; did you mean 'reference'\?$"),
        ("Case_ID,REFERENCE,Prediction", r"3 problems:\n  - column 'Case_ID' is unknown; did you mean 'case_id'\?"),
        ("", r"pairs\.csv: is empty; it needs the columns case_id, reference, prediction, and a row for each case\.$"),
    ],
)
def test_table_with_other_columns_is_refused(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(MedganError, match=message):
        pair_cases(write_table(tmp_path, header=header))


def test_table_is_given_alone(tmp_path: Path) -> None:
    make_files(tmp_path, "x.nii")
    with pytest.raises(MedganError, match="says what belongs together; give no predictions, images or split"):
        pair_cases(write_table(tmp_path, "a,x.nii,x.nii"), tmp_path)


def test_what_is_there_but_no_label_is_named(tmp_path: Path) -> None:
    names = ("a", "dir", "folder", "gone", "loop", "other", "text")
    references, predictions = tmp_path / "r", tmp_path / "p"
    for folder, files in ((references, names), (predictions, names[:1])):
        folder.mkdir()
        for name in files:
            (folder / f"{name}.nii.gz").touch()
    (predictions / "dir.nii.gz").mkdir()
    (predictions / "folder").mkdir()
    (predictions / "folder" / "label.nii.gz").touch()
    (predictions / "gone.nii.gz").symlink_to("nowhere.nii.gz")
    (predictions / "loop.nii.gz").symlink_to("loop.nii.gz")
    (predictions / "text.npz").touch()
    found = pair_cases(references, predictions)
    assert [pair.case_id for pair in found.pairs] == ["a"]
    start = "no prediction can be read for it: "
    assert found.unpaired == {
        "dir": f"{start}dir.nii.gz is a folder, where its name says a file; give the file in it, or rename it.",
        "folder": f"{start}p/folder is a folder, and folders are not looked into where label files lie beside them.",
        "gone": f"{start}gone.nii.gz is a link to something that is not there.",
        "loop": f"{start}loop.nii.gz is a link to something that is not there.",
        "other": "no prediction is named for it.",
        "text": f"{start}text.npz is no label volume.",
    }
