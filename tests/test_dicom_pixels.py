"""DICOM pixels: every encoding gives the same numbers, and what does not fit its header is refused."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from codestreams import by_gdcm, by_pillow, items, lossless_jpeg, native, offsets, write_file
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import get_encoder
from pydicom.uid import (
    JPEG2000,
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPIPHTJ2KReferenced,
    MRImageStorage,
    RLELossless,
)

from medgan.errors import MedganError
from medgan.volume.dicom import frames, pixels
from medgan.volume.dicom.decoder import Decoder
from medgan.volume.dicom.files import read_header

RAMP = np.array([3 * n + 40 * (n % 3) for n in range(33 * 37)], np.uint16).reshape(33, 37)  # of 12 bits
SIGNED = RAMP.astype(np.int16) - 2000


DECODER = Decoder()


@pytest.fixture(scope="module", autouse=True)
def one_child_for_all():
    with DECODER:
        yield


def read(path, frame=None, **options):
    file = read_header(path)
    pixels.check_pixels(file)
    return pixels.read_frame(file, frame, decoder=DECODER, **options)


def refused(path, match, frame=None):
    with pytest.raises(MedganError, match=match) as caught:
        read(path, frame)
    assert path.name in str(caught.value)
    assert "DOE" not in str(caught.value)


def by_pydicom(stored, syntax, **elements):
    """Return a frame as RLE or JPEG-LS."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(stored.dtype.kind == "i")
    dataset.PixelData = native(stored)
    dataset["PixelData"].VR = "OW"
    return next(get_encoder(syntax).iter_encode(dataset))


def encoded(stored, syntax):
    """Return the pixel data of one frame in any encoding that can be written here."""
    if not syntax.is_encapsulated:
        return native(stored, syntax)
    if syntax in (RLELossless, JPEGLSLossless):
        if syntax == JPEGLSLossless:
            pytest.importorskip("jpeg_ls", reason="pyjpegls encodes JPEG-LS")
        return items(by_pydicom(stored, syntax))
    if syntax == JPEGLossless:
        return items(lossless_jpeg(stored.view(f"u{stored.dtype.itemsize}"), bits=16, predictor=4))
    return items(by_gdcm(stored, syntax))


SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("stored", [RAMP, SIGNED, RAMP * 16 + 15], ids=["unsigned", "signed", "all 16 bits"])
def test_every_lossless_encoding_gives_the_stored_numbers(tmp_path, syntax, stored):
    path = write_file(tmp_path / "x.dcm", syntax, encoded(stored, syntax), stored)
    found = read(path)
    np.testing.assert_array_equal(found, stored)
    assert found.dtype == np.float32


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 13, 16])
@pytest.mark.parametrize("predictor", [1, 4])
def test_jpeg_lossless_of_8_to_16_bits_and_other_predictors(tmp_path, bits, predictor):
    stored = RAMP >> max(0, 12 - bits)
    path = write_file(
        tmp_path / "x.dcm",
        JPEGLossless,
        items(lossless_jpeg(stored, bits=bits, predictor=predictor)),
        stored,
        BitsStored=bits,
        HighBit=bits - 1,
    )
    np.testing.assert_array_equal(read(path), stored)


def test_jpeg_baseline_and_lossy_jpeg_2000_come_within_their_loss(tmp_path):
    smooth = np.add.outer(np.arange(24) * 4, np.arange(32) * 3).astype(np.uint8)
    path = write_file(tmp_path / "x.dcm", JPEGBaseline8Bit, items(by_pillow(smooth, "JPEG", quality=95)), smooth)
    assert np.abs(read(path) - smooth).max() <= 3
    deep = smooth.astype(np.uint16) * 12
    codestream = by_pillow(deep, "JPEG2000", no_jp2=True, irreversible=True, quality_layers=[4])
    path = write_file(tmp_path / "y.dcm", JPEG2000, items(codestream), deep)
    assert np.abs(read(path) - deep).max() <= 12


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("CT_small", -896, 1167),
        ("MR_small_bigendian", 127, 2145),
        ("MR_small_RLE", 127, 2145),
        ("image_dfl", 0, 255),
        ("JPEG-lossy", 0, 264),  # JPEG extended, 12 bits
        ("JPEG2000", -30, 245),
        ("J2K_pixelrep_mismatch", -2000, 1896),  # the codestream says unsigned, the header signed
        ("JPEGLSNearLossless_08", 0, 255),
        ("JPEGLSNearLossless_16", 0, 65535),
        ("MR_small_jp2klossless", 127, 2145),
        ("MR_small_jpeg_ls_lossless", 127, 2145),
        ("693_J2KI", -3995, 1812),  # 16 bits in the codestream, 14 in the header
        ("rtdose", None, None),  # 32 bits, multi-frame
        ("rtdose_rle", None, None),
    ],
)
def test_files_of_other_makers_agree_with_gdcm(name, low, high, capfd):
    path = Path(get_testdata_file(f"{name}.dcm", download=False))
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom, of the older files
        found = read(path, len(expected) - 1 if len(expected) > 1 else None)
    np.testing.assert_array_equal(found, expected[-1].astype(np.float32))
    if low is not None:
        assert (found.min(), found.max()) == (low, high)
    capfd.readouterr()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_bits_above_the_stored_ones_are_not_part_of_the_value(tmp_path, syntax):
    overlay = (np.arange(RAMP.size).reshape(RAMP.shape) % 3 == 0).astype(np.uint16) << 15
    path = write_file(tmp_path / "x.dcm", syntax, encoded(RAMP | overlay, syntax), RAMP, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(path), RAMP)


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, RLELossless, JPEGLossless])
def test_the_sign_is_the_highest_stored_bit(tmp_path, syntax):
    stored = (SIGNED & 0x0FFF).astype(np.int16)  # 12 bits in two's complement, the upper four empty
    path = write_file(tmp_path / "x.dcm", syntax, encoded(stored, syntax), stored, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(path), (SIGNED + 2048) % 4096 - 2048)


LOSSLESS = [JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless]


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("stored", [RAMP, SIGNED >> 1], ids=["unsigned", "signed"])
def test_a_codestream_of_more_bits_than_the_header_is_read_while_its_values_fit(tmp_path, syntax, stored):
    path = write_file(tmp_path / "x.dcm", syntax, encoded(stored, syntax), stored, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(path), stored)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("stored", [RAMP + 2048, SIGNED - 2048], ids=["unsigned", "signed"])
def test_values_beyond_the_stored_bits_of_a_codestream_are_refused(tmp_path, syntax, stored):
    path = write_file(tmp_path / "x.dcm", syntax, encoded(stored, syntax), stored, BitsStored=12, HighBit=11)
    refused(path, "contradicts itself: its header says pixels of 12 bits, but its codestream, of 1[0-9], holds values")


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(("bits", "high_bit"), [(12, 15), (15, 15), (2, 15), (16, 11)])
def test_a_high_bit_that_is_not_the_last_stored_one_is_refused(tmp_path, syntax, bits, high_bit):
    data = encoded(RAMP, syntax)
    path = write_file(tmp_path / "x.dcm", syntax, data, RAMP, BitsStored=bits, HighBit=high_bit)
    refused(path, f"the lowest of them stored, .*BitsStored {bits}, HighBit {high_bit}")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint32, np.int32])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_eight_and_thirty_two_bits_are_read(tmp_path, dtype, syntax):
    stored = (RAMP.astype(np.int64) - (2000 if np.dtype(dtype).kind == "i" else 0)).astype(dtype)
    path = write_file(tmp_path / "x.dcm", syntax, encoded(stored, syntax), stored)
    np.testing.assert_array_equal(read(path), stored)


def test_the_rescale_is_the_files_unless_the_frame_has_its_own(tmp_path):
    path = write_file(tmp_path / "x.dcm", ExplicitVRLittleEndian, native(RAMP), RAMP, RescaleSlope="0.5")
    np.testing.assert_array_equal(read(path), RAMP * 0.5)
    np.testing.assert_array_equal(read(path, rescale=(2.0, -1024.0)), RAMP * 2.0 - 1024)


SLICES = np.stack([RAMP, RAMP[:, ::-1], RAMP[::-1]])


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_every_frame_of_a_multi_frame_file_is_found(tmp_path, syntax):
    data = b"".join(native(each, syntax) for each in SLICES)
    if syntax.is_encapsulated:
        data = items(*(encoded(each, syntax)[16:] for each in SLICES))
    path = write_file(tmp_path / "x.dcm", syntax, data, SLICES)
    for number, expected in enumerate(SLICES):
        np.testing.assert_array_equal(read(path, number), expected)


def in_halves(*fragments):
    return [half for each in fragments for half in (each[: len(each) // 4 * 2], each[len(each) // 4 * 2 :])]


@pytest.mark.parametrize("table", ["none", "basic", "extended"])
def test_frames_in_several_fragments_are_joined(tmp_path, table):
    frames_of = [lossless_jpeg(each, bits=12) for each in SLICES]
    halves = in_halves(*frames_of)
    starts = offsets(*halves)[::2]
    elements = {"ExtendedOffsetTable": struct.pack("<3Q", *starts)} if table == "extended" else {}
    data = items(*halves, table=struct.pack("<3I", *starts) if table == "basic" else b"")
    path = write_file(tmp_path / "x.dcm", JPEGLosslessSV1, data, SLICES, BitsStored=12, HighBit=11, **elements)
    np.testing.assert_array_equal(read(path, 1), SLICES[1])
    np.testing.assert_array_equal(read(path, 2), SLICES[2])


def test_a_frame_is_found_by_the_table_whatever_the_order_in_the_file(tmp_path):
    fragments = [lossless_jpeg(each, bits=12) for each in SLICES]
    last_first = fragments[::-1]
    table = struct.pack("<3I", *offsets(*last_first)[::-1])
    path = write_file(
        tmp_path / "x.dcm", JPEGLosslessSV1, items(*last_first, table=table), SLICES, BitsStored=12, HighBit=11
    )
    np.testing.assert_array_equal(read(path, 0), SLICES[0])


def test_the_items_of_a_file_are_walked_once_for_all_its_frames(tmp_path):
    stack = np.repeat(RAMP[None], 200, axis=0) + np.arange(200, dtype=np.uint16)[:, None, None]
    data = items(*(by_pydicom(each, RLELossless) for each in stack))
    path = write_file(tmp_path / "x.dcm", RLELossless, data, stack)
    file = read_header(path)
    before = frames._frames_on_disk.cache_info().misses
    found = [pixels.read_frame(file, number, decoder=DECODER) for number in range(200)]
    np.testing.assert_array_equal(found, stack)
    assert frames._frames_on_disk.cache_info().misses == before + 1


@pytest.mark.parametrize(
    ("data", "number", "message"),
    [
        (lambda f: items(f[0], f[1]), 3, "NumberOfFrames says 3, but it holds 2 frames"),
        (lambda f: items(*f), 2, "NumberOfFrames says 2, but it holds 3 frames"),
        (lambda f: items(*f), 1, "holds more frames than NumberOfFrames says, 1"),
        (lambda f: items(*f, table=struct.pack("<3I", 0, 6, 12)), 3, "offset table points between its frames"),
        (lambda f: items(*f, table=struct.pack("<3I", 0, 0, 0)), 3, "offset table points between its frames"),
        (lambda f: items(), 3, "no frame is there"),
        (lambda f: items(*f) + b"\xfe\xff\x00\xe0\xff\xff\x00\x00abc", 3, "damaged|truncated"),
    ],
)
def test_frames_that_do_not_add_up_are_refused(tmp_path, data, number, message):
    frames_of = [lossless_jpeg(each, bits=16) for each in SLICES]
    path = write_file(tmp_path / "x.dcm", JPEGLosslessSV1, data(frames_of), SLICES, NumberOfFrames=number)
    refused(path, message, None if number == 1 else number - 1)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "8, 16 or 32 bits, .*found BitsAllocated 1"),
        ({"BitsAllocated": 12}, "BitsAllocated 12"),
        ({"BitsStored": 17}, "BitsStored 17"),
        ({"BitsStored": 0}, "BitsStored 0"),
        ({"HighBit": 3}, "HighBit 3"),
        ({"PixelRepresentation": 2}, "PixelRepresentation 2"),
        ({"PixelRepresentation": None}, "must say whether its pixels have a sign"),
        ({"PixelRepresentation": 65535}, "PixelRepresentation 65535"),
        ({"PhotometricInterpretation": "DOE JANE"}, "colour one .MONOCHROME1 or MONOCHROME2 is absent"),
        ({"PhotometricInterpretation": ""}, "colour one .MONOCHROME1 or MONOCHROME2 is absent"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, r"grey image, but is a colour one \(RGB\)"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"colour one \(PALETTE COLOR\)"),
        ({"FloatPixelData": bytes(4884)}, "floating-point: not supported"),
        ({"ModalityLUTSequence": [Dataset()]}, "ModalityLUTSequence"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "CT slice without RescaleSlope"),
        (
            {"Modality": "PT", "RescaleSlope": None, "RescaleIntercept": None},
            "PT slice without RescaleSlope",
        ),
        ({"Modality": "", "RescaleSlope": None, "RescaleIntercept": None}, "CT slice without RescaleSlope"),
        ({"RescaleIntercept": None}, "no RescaleIntercept"),
        ({"RescaleSlope": "0"}, "RescaleSlope other than 0"),
        ({"Rows": 34}, "truncated.*calls for 2,516 bytes, found 2,442"),
        ({"Rows": 32}, "calls for 2,368 bytes of pixels, but it holds 2,442"),
        ({"Columns": 36}, "calls for 2,376 bytes of pixels, but it holds 2,442"),
        ({"PixelData": native(RAMP) + bytes(66)}, "calls for 2,442 bytes of pixels, but it holds 2,508"),
        ({"NumberOfFrames": 2}, "truncated.*calls for 4,884 bytes, found 2,442"),
        ({"NumberOfFrames": 0}, "NumberOfFrames above zero, found 0"),
        ({"PixelData": native(RAMP)[:-2]}, "truncated.*calls for 2,442 bytes, found 2,440"),
        ({"PixelData": native(RAMP) * 2, "NumberOfFrames": 2}, "multi-frame object of 2 frames"),
        ({"PixelData": None}, "no pixel data"),
        ({"PixelData": b""}, "no pixel data"),
    ],
)
def test_a_header_that_would_read_wrong_is_refused(tmp_path, elements, message):
    refused(write_file(tmp_path / "x.dcm", ExplicitVRLittleEndian, native(RAMP), RAMP, **elements), message)


def test_an_odd_length_may_be_padded_by_one_byte(tmp_path):
    stored = RAMP.astype(np.uint8)
    path = write_file(tmp_path / "x.dcm", ExplicitVRLittleEndian, native(stored), stored)
    assert stored.size % 2 == 1
    np.testing.assert_array_equal(read(path), stored)


def test_padding_of_less_than_a_row_or_column_is_passed_over(tmp_path):
    path = write_file(tmp_path / "x.dcm", ExplicitVRLittleEndian, native(RAMP) + bytes(64), RAMP)
    np.testing.assert_array_equal(read(path), RAMP)


def test_a_series_of_which_some_slices_have_a_rescale_is_refused(tmp_path):
    none = {"RescaleSlope": None, "RescaleIntercept": None, "Modality": "MR", "SOPClassUID": MRImageStorage}
    rescaled, bare = (
        read_header(write_file(tmp_path / name, ExplicitVRLittleEndian, native(RAMP), RAMP, **elements))
        for name, elements in (("a.dcm", {}), ("b.dcm", none))
    )
    pixels.check_rescales([rescaled, rescaled])
    pixels.check_rescales([bare, bare])
    with pytest.raises(MedganError, match=r"b.dcm has no RescaleSlope, but other slices .*a.dcm"):
        pixels.check_rescales([rescaled, bare])


@pytest.mark.parametrize("syntax", [MPEG4HP41, HTJ2KLossless, JPIPHTJ2KReferenced])
def test_other_transfer_syntaxes_are_refused_by_name(tmp_path, syntax):
    path = write_file(tmp_path / "x.dcm", syntax, items(b"1234"), RAMP)
    refused(path, f"unsupported transfer syntax, .*{syntax}")


@pytest.mark.parametrize("text", [b"DOE^JANE\0", b"1.2.840\x05\x80", b"1.2.3.19"])
def test_an_unknown_transfer_syntax_is_refused_without_its_text(tmp_path, text):
    path = write_file(tmp_path / "x.dcm", ExplicitVRLittleEndian, native(RAMP), RAMP)
    uid = ExplicitVRLittleEndian.encode() + b"\0"
    path.write_bytes(path.read_bytes().replace(uid, text.ljust(len(uid), b"\0")))
    refused(path, "unsupported transfer syntax, an unknown one; decompress it")


@pytest.mark.parametrize(
    ("claimed", "actual"), [(ExplicitVRLittleEndian, RLELossless), (RLELossless, ExplicitVRLittleEndian)]
)
def test_pixel_data_against_their_transfer_syntax_are_refused(tmp_path, claimed, actual):
    path = write_file(tmp_path / "x.dcm", actual, encoded(RAMP, actual), RAMP)
    assert len(claimed) == len(actual)
    path.write_bytes(path.read_bytes().replace(actual.encode(), claimed.encode()))
    refused(path, "encapsulated, against its transfer syntax")


@pytest.mark.parametrize(
    ("stream", "elements", "message"),
    [
        (lossless_jpeg(RAMP[:, :36], bits=16), {}, "calls for 37x33 grey pixels.*hold 36x33 pixels"),
        (lossless_jpeg(RAMP[:32], bits=16), {}, "hold 37x32 pixels"),
        (lossless_jpeg(RAMP, bits=16), {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "of 8 bits.*of 16 bits"),
        (by_pillow(np.zeros((33, 37, 3), np.uint8), "JPEG"), {}, r"in 3 channel\(s\)"),
        (lossless_jpeg(RAMP, bits=12), {"PixelRepresentation": 1}, "contradicts itself: its header says signed"),
        (by_gdcm(SIGNED, JPEG2000Lossless), {}, "its header says unsigned pixels of 16 bits, its codestream signed"),
        (b"\xff\xd8\xff\xd9", {}, "cannot be decoded"),
        (b"<html>403</html>", {}, "cannot be decoded"),
    ],
)
def test_a_codestream_that_contradicts_its_header_is_refused(tmp_path, stream, elements, message):
    syntax = JPEG2000Lossless if stream.startswith(b"\xff\x4f") else JPEGLosslessSV1
    refused(write_file(tmp_path / "x.dcm", syntax, items(stream), RAMP, **elements), message)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("has_end", [False, True], ids=["without", "with"])
def test_a_cut_frame_is_refused_even_with_an_end_marker(tmp_path, syntax, has_end, capfd):
    frame = encoded(RAMP, syntax)[16:].rstrip(b"\0")
    end = b"\xff\xd9" if has_end and syntax != RLELossless else b""
    for kept in (0.5, 0.8, 0.9):
        cut = frame[: int(len(frame) * kept)] + end
        path = write_file(tmp_path / "x.dcm", syntax, items(cut), RAMP)
        refused(path, "pixel data .*(truncated|cannot be decoded)")
    assert capfd.readouterr().err == ""


def test_a_small_codestream_that_claims_a_huge_image_is_refused_before_decoding(tmp_path):
    stream = bytearray(lossless_jpeg(RAMP, bits=16))
    stream[7:11] = struct.pack(">HH", 60000, 60000)
    path = write_file(tmp_path / "x.dcm", JPEGLosslessSV1, items(bytes(stream)), RAMP, Rows=60000, Columns=60000)
    refused(path, "7,200,000,000 bytes of pixels cannot come from")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_eight_bits_of_rle_are_read(tmp_path, dtype):
    stored = RAMP.astype(dtype)
    path = write_file(tmp_path / "x.dcm", RLELossless, encoded(stored, RLELossless), stored)
    np.testing.assert_array_equal(read(path), stored)


def test_an_rle_frame_of_another_size_is_refused(tmp_path):
    path = write_file(tmp_path / "x.dcm", RLELossless, encoded(RAMP, RLELossless), RAMP[:32])
    refused(path, r"pixel data \(RLE Lossless\) are truncated or cannot be decoded")
    path = write_file(tmp_path / "x.dcm", RLELossless, encoded(RAMP, RLELossless), RAMP.astype(np.uint8))
    refused(path, "cannot be decoded")


def test_a_jpeg_2000_frame_in_its_own_container_is_read(tmp_path):
    stream = by_pillow(RAMP, "JPEG2000")
    assert stream[4:8] == b"jP  "
    path = write_file(tmp_path / "x.dcm", UID(JPEG2000Lossless), items(stream), RAMP)
    np.testing.assert_array_equal(read(path), RAMP)
