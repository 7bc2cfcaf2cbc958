"""Reading and writing manifests."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.manifest.read import read_manifest, write_manifest

CHECKOUT = Path(__file__).parents[1]
FAULTS = Path(__file__).parents[2] / "shared" / "faults"


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"voxels")


def write_csv(folder: Path, *lines: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_json(folder: Path, document: object) -> Path:
    path = folder / "datalist.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def problems_of(path: Path) -> str:
    with pytest.raises(MedganError) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_csv_gives_cases_with_paths_from_its_folder(tmp_path: Path) -> None:
    make_files(tmp_path, "images/a.nii.gz", "labels/a.nii.gz", "images/b.nii.gz", "labels/b.nii.gz")
    path = write_csv(
        tmp_path,
        "case_id,image,label,split,patient,label_grid",
        "a,images/a.nii.gz,labels/a.nii.gz,train,p1,",
        "b,images/b.nii.gz,labels/b.nii.gz,val,p2,resample",
    )
    assert read_manifest(path) == [
        Case("a", (tmp_path / "images/a.nii.gz",), tmp_path / "labels/a.nii.gz", "train", "p1"),
        Case("b", (tmp_path / "images/b.nii.gz",), tmp_path / "labels/b.nii.gz", "val", "p2", resample_label=True),
    ]


def test_two_columns_are_enough(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii")
    (case,) = read_manifest(write_csv(tmp_path, "case_id,image", "a,a.nii"))
    assert (case.label, case.split, case.patient) == (None, None, "a")


def test_channel_columns_are_channels_in_their_order(tmp_path: Path) -> None:
    make_files(tmp_path, "t1.nii", "t2.nii")
    (case,) = read_manifest(write_csv(tmp_path, "image_0,case_id,image_1", "t1.nii,a,t2.nii"))
    assert case.images == (tmp_path / "t1.nii", tmp_path / "t2.nii")


def test_spreadsheet_leftovers_do_no_harm(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii")
    path = tmp_path / "manifest.csv"
    path.write_bytes(b"\xef\xbb\xbfcase_id, image\r\na, a.nii\r\n,\r\n")
    assert [case.case_id for case in read_manifest(path)] == ["a"]


def test_all_problems_are_listed_with_row_and_field(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii", "a_label.nii", "b.nii")
    (tmp_path / "zero.nii").touch()
    (tmp_path / "series").mkdir()
    text = problems_of(
        write_csv(
            tmp_path,
            "case_id,image,label,split,patient",
            "a,a.nii,a_label.nii,train,p1",
            "A,a.nii,,test,p1",
            "../evil,b.nii,,tets,p2",
            "c,gone.nii,gone_label.nii,test,=1+1",
            "d,,a_label.nii,,",
            "e,zero.nii,,train,p5",
            "f,series,,test,",
        )
    )
    for fact in (
        "duplicate case_id: row 2 (a), row 3 (A)",
        "the same image a.nii stands twice: row 2 (a), row 3 (A)",
        "patient p1 is in two splits: train in row 2 (a), test in row 3 (A)",
        "row 4 (../evil): case_id '../evil' is not allowed",
        "row 4 (../evil): split must be one of train, val, test, found 'tets'",
        f"row 5 (c): image {tmp_path / 'gone.nii'}: No such file",
        f"row 5 (c): label {tmp_path / 'gone_label.nii'}: No such file",
        "row 5 (c): patient '=1+1' must",
        "row 6 (d): image must not be empty",
        "row 6 (d): split is empty, but other rows have one; only a case without a label may do without",
        f"row 7 (e): image {tmp_path / 'zero.nii'}: is empty (0 bytes)",
        "row 7 (e): label is missing; a train case must have one",
        f"row 8 (f): image {tmp_path / 'series'}: is an empty folder",
    ):
        assert fact in text
    assert "13 problems" in text


@pytest.mark.parametrize("case_id", ["..", "a/b", "a\\b", "=1+1", "+a", "-a", "@a", "a.", "<b>", "a\tb", "x" * 121])
def test_unsafe_case_id_is_refused(tmp_path: Path, case_id: str) -> None:
    make_files(tmp_path, "a.nii")
    assert "case_id" in problems_of(write_json(tmp_path, [{"case_id": case_id, "image": "a.nii"}]))


def test_header_problems_are_told(tmp_path: Path) -> None:
    text = problems_of(write_csv(tmp_path, "id,image,lable,label,label", "a,a.nii,,,"))
    assert "column 'lable' is unknown; did you mean 'label'?" in text
    assert "column 'label' stands in the header twice" in text
    assert "column 'case_id' is missing" in text


def test_other_separator_is_named(tmp_path: Path) -> None:
    assert "separated by commas, found ';'" in problems_of(write_csv(tmp_path, "case_id;image", "a;a.nii"))


def test_ragged_rows_are_refused(tmp_path: Path) -> None:
    assert "row 3: must have 2 cells like the header, found 3" in problems_of(
        write_csv(tmp_path, "case_id,image", "a,a.nii", "b,b.nii,c")
    )


@pytest.mark.parametrize(("name", "content"), [("m.csv", b"case_id,image\n"), ("n.csv", b""), ("m.json", b"[]")])
def test_empty_manifest_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "is empty" in problems_of(tmp_path / name)


def test_wrong_encoding_is_refused_with_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes("case_id,image\nä,a.nii\n".encode("latin-1"))
    assert "must be UTF-8 text, found byte 0xe4 at position 14" in problems_of(path)


def test_path_out_of_the_data_folder_is_refused_unless_root_allows_it(tmp_path: Path) -> None:
    make_files(tmp_path, "outside/a.nii", "cohort/x")
    (tmp_path / "cohort" / "b.nii").symlink_to(tmp_path / "outside" / "a.nii")
    path = write_csv(tmp_path / "cohort", "case_id,image", "a,../outside/a.nii")
    assert "outside the data folder" in problems_of(path)
    assert read_manifest(path, root=tmp_path)[0].case_id == "a"
    assert "is a symbolic link" in problems_of(write_csv(tmp_path / "cohort", "case_id,image", "b,b.nii"))


def test_channels_must_be_equally_many(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii", "b.nii", "c.nii")
    rows = [{"case_id": "a", "image": ["a.nii", "b.nii"]}, {"case_id": "c", "image": "c.nii"}]
    assert "entry 2 (c): must have 2 image channels like the first row, found 1" in problems_of(
        write_json(tmp_path, rows)
    )


def test_json_list_equals_csv(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii", "a_label.nii")
    listed = write_json(tmp_path, [{"case_id": "a", "image": "a.nii", "label": "a_label.nii", "patient": "p"}])
    table = write_csv(tmp_path, "case_id,image,label,patient", "a,a.nii,a_label.nii,p")
    assert read_manifest(listed) == read_manifest(table)


def test_json_values_must_be_text(tmp_path: Path) -> None:
    text = problems_of(write_json(tmp_path, [{"case_id": 7, "image": {"path": "a"}, "split": ["train"]}, "b"]))
    assert "entry 1: case_id must be text, found 7" in text
    assert "entry 1: image must be text, found an object with keys 'path'" in text
    assert "entry 1: split must be text, found a list of 1" in text
    assert "entry 2: must be an object with case_id and image, found 'b'" in text


def test_broken_json_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text('[\n {"case_id": "a",\n')
    assert "not valid JSON" in problems_of(path)
    assert "line 3" in problems_of(path)
    path.write_text("[" * 100_000)
    assert "not valid JSON" in problems_of(path)


def test_duplicate_json_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text('{"training": [], "training": []}')
    assert "duplicate key 'training'" in problems_of(path)


def test_msd_datalist_is_read_as_it_is(tmp_path: Path) -> None:
    make_files(tmp_path, "imagesTr/la_1.nii.gz", "labelsTr/la_1.nii.gz", "imagesTr/la_2.nii.gz", "labelsTr/la_2.nii.gz")
    make_files(tmp_path, "imagesTs/la_9.nii.gz")
    document = {
        "name": "LeftAtrium",
        "labels": {"0": "background", "1": "left atrium"},
        "numTraining": 2,
        "training": [{"image": f"./imagesTr/la_{n}.nii.gz", "label": f"./labelsTr/la_{n}.nii.gz"} for n in (1, 2)],
        "test": ["./imagesTs/la_9.nii.gz"],
    }
    cases = read_manifest(write_json(tmp_path, document), val_fraction=0.0)
    assert [(case.case_id, case.split) for case in cases] == [("la_1", "train"), ("la_2", "train"), ("la_9", "test")]
    assert cases[0].label == tmp_path / "labelsTr" / "la_1.nii.gz"


def test_fold_0_of_a_monai_datalist_is_validation(tmp_path: Path) -> None:
    make_files(tmp_path, *[f"{n}/{name}.nii" for n in range(3) for name in ("ct", "seg")])
    training = [{"image": f"{n}/ct.nii", "label": f"{n}/seg.nii", "fold": n, "site": "x"} for n in range(3)]
    cases = read_manifest(write_json(tmp_path, {"training": training}))
    assert [case.split for case in cases] == ["val", "train", "train"]
    assert [case.case_id for case in cases] == ["0_ct", "1_ct", "2_ct"]


def test_misspelt_section_of_a_datalist_is_refused(tmp_path: Path) -> None:
    text = problems_of(write_json(tmp_path, {"training": {}, "val": [{"image": "a.nii"}]}))
    assert "training: must be a list of cases, found an object" in text
    assert "section 'val' is unknown; the sections are training, validation, test" in text


def test_written_manifest_reads_back(tmp_path: Path) -> None:
    make_files(tmp_path, "data/t1.nii", "data/t2.nii", "data/seg.nii")
    images = (tmp_path / "data/t1.nii", tmp_path / "data/t2.nii")
    cases = [Case("a", images, tmp_path / "data/seg.nii", "test", "p1", resample_label=True)]
    write_manifest(cases, tmp_path / "manifest.csv")
    assert (tmp_path / "manifest.csv").read_text() == (
        "case_id,image_0,image_1,label,split,patient,label_grid\n"
        "a,data/t1.nii,data/t2.nii,data/seg.nii,test,p1,resample\n"
    )
    assert read_manifest(tmp_path / "manifest.csv") == cases


def test_series_of_one_folder_are_cases_of_their_own(tmp_path: Path) -> None:
    make_files(tmp_path, "study/1.dcm", "study.zip", "masks/heart.nii.gz")
    path = write_csv(
        tmp_path, "case_id,image,label,series", "a,study,masks,1.2.3", "b,study,,1.2.4#2", "c,study.zip,,1.2.3"
    )
    cases = read_manifest(path)
    assert [(case.images[0].name, case.series) for case in cases] == [
        ("study", "1.2.3"),
        ("study", "1.2.4#2"),
        ("study.zip", "1.2.3"),
    ]
    assert cases[0].label == tmp_path / "masks"
    write_manifest(cases, tmp_path / "again.csv")
    assert read_manifest(tmp_path / "again.csv") == cases
    rows = [{"case_id": case.case_id, "image": str(case.images[0]), "series": case.series} for case in cases]
    assert [case.series for case in read_manifest(write_json(tmp_path, rows))] == ["1.2.3", "1.2.4#2", "1.2.3"]


def test_rows_that_may_mean_one_series_are_refused(tmp_path: Path) -> None:
    make_files(tmp_path, "study/1.dcm", "t1.nii", "t2.nii")
    rows = ("a,study,1.2.3", "b,study,1.2.4", "c,study,1.2.3")
    text = problems_of(write_csv(tmp_path, "case_id,image,series", *rows))
    assert text.endswith("the same image study stands twice: row 2 (a), row 4 (c).")
    text = problems_of(write_csv(tmp_path, "case_id,image,series", *rows[:2], "c,study,"))
    assert text.endswith("the same image study stands twice: row 2 (a), row 3 (b), row 4 (c).")
    text = problems_of(
        write_csv(tmp_path, "case_id,image_0,image_1,series", "a,t1.nii,t2.nii,1.2", "b,t1.nii,t2.nii,=1")
    )
    assert "row 2 (a): series needs a single image, found 2 channels" in text
    assert "row 3 (b): series '=1' must be printable and not start with = + - @" in text


def test_only_a_case_without_a_label_may_do_without_a_split(tmp_path: Path) -> None:
    make_files(tmp_path, "a.nii", "b.nii", "seg.nii")
    header = "case_id,image,label,split,patient"
    cases = read_manifest(write_csv(tmp_path, header, "a,a.nii,seg.nii,train,p1", "b,b.nii,,,p1"))
    assert [case.split for case in cases] == ["train", None]
    text = problems_of(write_csv(tmp_path, header, "a,a.nii,,test,p1", "b,b.nii,seg.nii,,p2"))
    assert "row 3 (b): split is empty" in text


def test_written_cells_are_no_formulas_and_read_back(tmp_path: Path) -> None:
    names = ("=1+1.nii", "+a.nii", "-a.nii", "@a.nii", " a.nii")
    make_files(tmp_path, *names)
    cases = [Case(f"c{n}", (tmp_path / name,), patient="p") for n, name in enumerate(names)]
    write_manifest(cases, tmp_path / "manifest.csv")
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == [f"./{name}" for name in names]
    assert read_manifest(tmp_path / "manifest.csv") == cases


def test_written_paths_climb_out_of_the_folder_where_they_must(tmp_path: Path) -> None:
    make_files(tmp_path, "data/a.nii")
    write_manifest([Case("a", (tmp_path / "data/a.nii",))], tmp_path / "lists" / "manifest.csv")
    (case,) = read_manifest(tmp_path / "lists" / "manifest.csv", root=tmp_path)
    assert case.images[0].resolve() == (tmp_path / "data/a.nii").resolve()


@pytest.mark.parametrize("name", ["thorax", "cardiac_mr", "chest_xray"])
def test_shipped_labels_load_with_codes_and_colors(name: str) -> None:
    labels = LabelMap.from_yaml(CHECKOUT / "data_manifests" / "labels" / f"{name}.yaml")
    assert all(organ.code and organ.code.scheme == "SCT" for organ in labels.organs)
    assert len({organ.color for organ in labels.organs}) == len(labels.organs)


def test_shipped_labels_mirror_lungs_but_not_ventricles() -> None:
    folder = CHECKOUT / "data_manifests" / "labels"
    assert LabelMap.from_yaml(folder / "thorax.yaml").mirrored_classes == (0, 2, 1, 3)
    assert LabelMap.from_yaml(folder / "cardiac_mr.yaml").mirrored_classes == (0, 1, 2, 3)


def test_shipped_codes_are_those_of_dicom() -> None:
    from pydicom.sr.codedict import codes

    expected = {
        "Heart": codes.SCT.Heart,
        "Lung": codes.SCT.Lung,
        "Right ventricle": codes.SCT.RightVentricle,
        "Left ventricle": codes.SCT.LeftVentricle,
        "Left ventricle myocardium": codes.SCT.LeftVentricleMyocardium,
    }
    folder = CHECKOUT / "data_manifests" / "labels"
    found = {
        organ.code.meaning: organ.code.value
        for path in folder.glob("*.yaml")
        for organ in LabelMap.from_yaml(path).organs
        if organ.code
    }
    assert {meaning: found[meaning] for meaning in expected} == {m: code.value for m, code in expected.items()}


def import_from_faults(name: str):  # type: ignore[no-untyped-def]
    spec = importlib.util.spec_from_file_location(name, FAULTS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def with_our_keys(path: Path, *, as_csv: bool) -> Path:
    """Rewrite a manifest of the fault corpus in medgan's terms; what is no valid JSON keeps its fault."""
    raw = path.read_bytes()
    text = raw.decode("utf-8-sig").replace('"id":', '"case_id":')
    try:
        document = json.loads(
            text, object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else {}
        )
    except ValueError:
        document = {}
    if not document:
        path.write_text(text.replace('"cases":', '"training":'))
        return path
    LabelMap.from_mapping(document["labels"], where=str(path))
    if not as_csv:
        bom = raw[:3] if raw.startswith(b"\xef\xbb\xbf") else b""
        path.write_bytes(bom + json.dumps(document["cases"], indent=1).replace("\n", "\r\n" if bom else "\n").encode())
        return path
    columns = ["case_id", "patient", "split", "image", "label"]
    lines = [",".join(columns), *(",".join(row.get(name, "") for name in columns) for row in document["cases"])]
    table = path.with_name("manifest.json.csv")
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the shared fault corpus is not beside the checkout")
@pytest.mark.parametrize("as_csv", [False, True])
def test_manifests_of_the_fault_corpus_are_judged_right(tmp_path: Path, as_csv: bool) -> None:
    makers, judge = import_from_faults("make_faults"), import_from_faults("check_faults")
    entries = makers.build(tmp_path / "corpus", only=["man_"])["entries"]
    failed = []
    for entry in entries:
        result = {"status": "loaded", "problems": None, "text": "", "warnings": "", "rss_mb": 0}
        started = time.monotonic()
        try:
            path = with_our_keys(tmp_path / "corpus" / entry["path"], as_csv=as_csv)
            ids = [case.case_id for case in read_manifest(path)]
            result["problems"] = judge.assess(entry, ids)
        except MedganError as error:
            result |= {"status": "exception", "text": str(error)}
        verdict = judge.judge(entry, result | {"seconds": time.monotonic() - started})
        if verdict not in entry["accept"]:
            failed.append((entry["id"], verdict, result["text"]))
    assert len(entries) >= 20
    assert failed == []
