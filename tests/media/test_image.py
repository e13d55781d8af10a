"""Pictures come out upright, opaque, 8 bits deep, and with torchvision's numbers."""

import io
import os
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from quiver.errors import BadMedia, BadSpec, QuiverError
from quiver.media import ImageReader, PairReader, fetch, picture, span, thumbnail

DATA = Path(os.environ.get("QUIVER_DATA", "../shared/data"))


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width] / 40
    return (127 + 100 * np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=-1)).astype(np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def square_gif():
    first, second = Image.new("P", (2, 2), 0), Image.new("P", (2, 2), 1)
    for frame in (first, second):
        frame.putpalette([10, 20, 30, 200, 100, 50])
    return encoded(first, "GIF", save_all=True, append_images=[second], duration=100)


@pytest.mark.parametrize("resample", ["bicubic", "bilinear", "lanczos", "nearest"])
@pytest.mark.parametrize(
    ("height", "width", "shorter", "size"),
    [
        (112, 112, 256, 224),
        (301, 301, 256, 224),
        (640, 480, 256, 224),
        (97, 251, 60, 33),
        (40, 41, 64, 64),
        (500, 37, 37, 9),
    ],
)
def test_crop_equals_torchvision_bit_for_bit(height, width, shorter, size, resample):
    picture = Image.fromarray(noise(height, width))
    mode = InterpolationMode[resample.upper()]
    want = Compose([Resize(shorter, interpolation=mode), CenterCrop(size)])(picture)
    got = ImageReader(size, shorter=shorter, resample=resample)(encoded(picture))
    np.testing.assert_array_equal(got, np.asarray(want))


def test_crop_of_a_small_jpeg_equals_torchvision_bit_for_bit(tmp_path):
    Image.fromarray(smooth(230, 310)).save(tmp_path / "a.jpg")
    want = Compose([Resize(128, interpolation=InterpolationMode.BICUBIC), CenterCrop(112)])
    with Image.open(tmp_path / "a.jpg") as picture:
        np.testing.assert_array_equal(ImageReader(112, shorter=128)(tmp_path / "a.jpg"), np.asarray(want(picture)))


def test_shorter_side_defaults_to_the_size_and_size_to_the_picture():
    array = noise(60, 90)
    np.testing.assert_array_equal(ImageReader(30)(array), ImageReader(30, shorter=30)(array))
    np.testing.assert_array_equal(ImageReader()(array), array)
    assert ImageReader(shorter=20)(array).shape == (20, 30, 3)
    assert ImageReader((20, 50))(array).shape == (20, 50, 3)


def test_squash_equals_torchvision_and_pad_equals_pillow():
    picture = Image.fromarray(noise(50, 81))
    squash = Resize((20, 30), interpolation=InterpolationMode.BILINEAR)(picture)
    np.testing.assert_array_equal(ImageReader((20, 30), fit="squash", resample="bilinear")(picture), np.asarray(squash))
    for size in ((64, 64), (33, 200), (200, 33)):
        pad = ImageOps.pad(picture, size[::-1], Image.Resampling.BICUBIC, color=(7, 7, 7))
        np.testing.assert_array_equal(ImageReader(size, fit="pad", fill=7)(picture), np.asarray(pad))


def test_pad_keeps_one_row_of_a_very_long_picture():
    padded = ImageReader(10, fit="pad")(np.zeros((1, 500, 3), np.uint8))
    assert (padded == 0).all(axis=(1, 2)).sum() == 1
    assert (padded == 255).all(axis=(1, 2)).sum() == 9


def test_result_is_writable_and_the_source_is_left_alone():
    array = noise(20, 20)
    before = array.copy()
    picture = ImageReader()(array)
    picture[:] = 0
    assert picture.flags.c_contiguous
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("image", "want"),
    [
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("LA", (2, 2), (100, 0)), (255, 255, 255)),
        (Image.new("RGB", (2, 2), (1, 2, 3)), (1, 2, 3)),
        # 100 * 51/255 + 255 * 204/255 = 224
        (Image.new("RGBA", (2, 2), (100, 0, 255, 51)), (224, 204, 255)),
        (Image.fromarray(np.full((2, 2), 32896, np.uint16)), (128, 128, 128)),
        (Image.fromarray(np.full((2, 2), 257, np.uint16)), (1, 1, 1)),
    ],
    ids=["1", "L", "LA", "RGB", "RGBA", "I;16 middle", "I;16 dark"],
)
def test_png_of_each_mode_gives_the_pixel_worked_out_by_hand(image, want):
    assert ImageReader()(encoded(image))[1, 1].tolist() == list(want)


def test_16_bit_tiff_pgm_and_int_are_scaled_not_clipped():
    values = np.array([[0, 257 * 3, 65535]])
    for source in (
        encoded(Image.fromarray(values.astype(np.uint16)), "TIFF"),
        b"P5 3 1 65535\n" + values.astype(">u2").tobytes(),
        Image.fromarray(values.astype(np.int32)),
    ):
        assert ImageReader()(source)[0, :, 0].tolist() == [0, 3, 255]


def test_16_bit_grey_with_a_transparent_value_shows_the_fill():
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">HH", 1000, 65535)))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"tRNS", struct.pack(">H", 1000)) + rows + chunk(b"IEND", b"")
    assert ImageReader(fill=9)(png)[0, :, 0].tolist() == [9, 255]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_picture_without_a_white_is_refused(mode):
    with pytest.raises(BadMedia, match="white"):
        ImageReader()(encoded(Image.new(mode, (2, 2), 100_000), "TIFF"))


def test_cmyk_jpeg_has_its_colours():
    jpeg = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=100)
    assert np.abs(ImageReader()(jpeg)[8, 8].astype(int) - (0, 255, 255)).max() <= 2


@pytest.mark.parametrize("clear", [0, b"\0\xff"], ids=["index", "table"])
def test_transparent_palette_entry_shows_the_fill(clear):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert ImageReader(fill=128)(encoded(image, transparency=clear)).tolist() == [[[128] * 3, [200, 100, 50]]]


def test_transparent_colour_of_an_rgb_png_shows_the_fill():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    assert ImageReader()(encoded(image, transparency=(1, 2, 3))).tolist() == [[[255] * 3, [9] * 3]]


def test_animation_gives_its_first_frame():
    assert ImageReader()(square_gif())[0, 0].tolist() == [10, 20, 30]


ORIENTED = {  # where the rows and columns of the stored picture must go
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("turn", ORIENTED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation_is_undone(turn, kind):
    array = smooth(24, 40)
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    got = ImageReader()(encoded(Image.fromarray(array), kind, exif=exif, **options))
    want = ORIENTED[turn](array)
    assert got.shape == want.shape
    assert np.abs(got.astype(int) - want).max() <= (6 if kind == "JPEG" else 0)


@pytest.mark.parametrize("turn", ORIENTED)
def test_large_jpeg_decoded_small_is_close_to_the_exact_resize_whichever_way_up(turn):
    array = smooth(603, 801)  # neither side a multiple of 8
    exif = Image.Exif()
    exif[0x0112] = turn
    jpeg = encoded(Image.fromarray(array), "JPEG", exif=exif, quality=95)
    exact = Image.fromarray(np.ascontiguousarray(ORIENTED[turn](array)))
    for reader in (ImageReader(64, shorter=72), ImageReader(128, fit="pad"), ImageReader((90, 60), fit="squash")):
        got, want = reader(jpeg).astype(int), reader(exact)
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 6
        assert np.abs(got - want).mean() < 1


def test_jpeg_is_never_decoded_at_less_than_twice_the_size(monkeypatch):
    seen = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *rest: seen.append(self.size) or resize(self, *rest))
    for side in (127, 128, 255, 256, 511, 512, 1023):
        ImageReader(32)(encoded(Image.new("RGB", (side, side)), "JPEG"))
    assert [side for side, _ in seen] == [127, 64, 128, 64, 128, 64, 128]


def test_damaged_exif_turns_nothing():
    jpeg = encoded(Image.new("RGB", (4, 2)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff junk")
    assert ImageReader()(jpeg).shape == (2, 4, 3)


def test_wrong_extension_decodes_by_content(tmp_path):
    Image.new("RGB", (3, 2), (5, 6, 7)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert ImageReader()(tmp_path / "a.jpg").tolist() == [[[5, 6, 7]] * 3] * 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF"])
def test_truncated_picture_is_refused_and_named(tmp_path, kind):
    data = encoded(Image.fromarray(noise(64, 64)), kind)
    (tmp_path / "cut.bin").write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(BadMedia, match=r"cut\.bin: "):
        ImageReader(32)(tmp_path / "cut.bin")


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("text.jpg", b"this is no picture, only words", "is not a picture of a known format"),
        ("zero.png", b"", "is empty"),
        ("eps.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture of a known format"),
        ("head.jpg", b"\xff\xd8\xff", ""),
    ],
)
def test_bad_file_is_refused_and_named(tmp_path, name, data, why):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadMedia, match=f"{name}: {why}"):
        ImageReader(32)(tmp_path / name)


@pytest.mark.parametrize("side", [9_500, 14_000, 60_000])
def test_header_bomb_is_refused_before_decoding(side):
    png = bytearray(encoded(Image.new("1", (8, 8))))
    png[16:24] = struct.pack(">II", side, side)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    with pytest.raises(BadMedia, match="pixels"):
        ImageReader(32)(bytes(png))


@pytest.mark.parametrize(("width", "height"), [(12_000, 9_000), (20_000, 10_000)])
def test_a_large_jpeg_is_decoded_small(width, height):
    colour = (10, 120, 200)
    photo = encoded(Image.new("RGB", (width, height), colour), "JPEG", quality=30)
    small = ImageReader(32)(photo)
    assert small.shape == (32, 32, 3) and np.abs(small.astype(int) - colour).max() <= 6  # of JPEG at this quality


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_panorama_that_cannot_be_decoded_small_is_averaged_down(kind):
    panorama = Image.new("L", (20_000, 5_000), 90)
    panorama.paste(200, (10_000, 0, 20_000, 5_000))
    small = ImageReader((10, 40), fit="squash")(encoded(panorama, kind))
    assert abs(small[:, :18].astype(int) - 90).max() <= 1 and abs(small[:, 22:].astype(int) - 200).max() <= 1


def test_the_limit_of_pixels_can_be_set():
    picture.allow(99)
    try:
        with pytest.raises(BadMedia, match="has 10x10 pixels, more than 99: raise max_pixels to allow it"):
            ImageReader(8)(encoded(Image.new("RGB", (10, 10))))
    finally:
        picture.allow(picture.PIXELS)
    assert ImageReader(8)(encoded(Image.new("RGB", (10, 10)))).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x18ftypisom", "an MP4 or QuickTime video or sound"),
        (b"%PDF-1.7", "a PDF document"),
        (b"  <!DOCTYPE html><p>404", "a web page"),
        (b"<svg xmlns='x'/>", "an SVG drawing"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\0" * 600, "nothing but zeros, as a copy that failed leaves behind"),
    ],
)
def test_a_file_that_is_no_picture_is_called_what_it_is(start, name):
    with pytest.raises(BadMedia, match=f"is not a picture of a known format: it seems to be {name}"):
        ImageReader(8)(start + b" " * 40 if start.strip(b"\0") else start)


def test_a_heic_picture_names_the_extra_that_reads_it():
    with pytest.raises(QuiverError) as failure:
        ImageReader(8)(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + b" " * 40)
    if find_spec("pillow_heif") is None:
        assert str(failure.value) == "pillow-heif is not installed: pip install 'quiver-search[heic]'"


def test_very_long_picture_is_not_blown_up_by_a_crop():
    with pytest.raises(BadMedia, match="elongated"):
        ImageReader(224, shorter=256)(np.zeros((1, 5000, 3), np.uint8))


@pytest.mark.parametrize("array", [np.zeros((2, 2, 3)), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 2, 3), np.uint8)])
def test_array_of_the_wrong_form_is_refused(array):
    with pytest.raises(BadMedia, match="picture array is uint8"):
        ImageReader()(array)


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"size": 9, "shorter": 8}, {"size": 9, "shorter": 9, "fit": "pad"}, {"fit": "fill"}, {"fill": 256}],
)
def test_reader_that_contradicts_itself_is_refused(options):
    with pytest.raises(BadSpec):
        ImageReader(**options)


def test_pair_reads_before_and_after(tmp_path):
    before, after = noise(8, 8), noise(8, 8, seed=1)
    first, second = PairReader(ImageReader())((encoded(Image.fromarray(before)), after))
    np.testing.assert_array_equal(first, before)
    np.testing.assert_array_equal(second, after)
    with pytest.raises(BadMedia, match="two pictures"):
        PairReader(ImageReader())(before)
    with pytest.raises(BadMedia, match=r"gone\.png"):
        PairReader(ImageReader())((before, str(tmp_path / "gone.png")))


def test_picture_inside_a_larger_file_reads_through_its_span(tmp_path):
    array = noise(5, 6)
    png = encoded(Image.fromarray(array))
    (tmp_path / "shard.tar").write_bytes(b"x" * 512 + png + b"y" * 512)
    ref = span(tmp_path / "shard.tar", "a.png", offset=512, size=len(png))
    assert fetch(ref) == png
    np.testing.assert_array_equal(ImageReader()(ref), array)


def test_thumbnails_keep_the_whole_picture():
    wide = np.zeros((10, 20, 3), np.uint8)
    sheet = thumbnail(wide, "image", size=40)
    assert (sheet[:10] == 255).all()
    assert (sheet[10:30] == 0).all()
    assert thumbnail((wide, wide), "pair", size=40).shape == (40, 80, 3)
    assert thumbnail("words", "text") is None
    with pytest.raises(BadSpec, match="smell"):
        thumbnail(wide, "smell")


@pytest.mark.data
@pytest.mark.parametrize("pack", ["fashion_products", "clothing", "exercise_pairs", "stamps"])
def test_real_pictures_decode_as_torchvision_sees_them(pack):
    files = sorted((DATA / pack / "images").glob("*.jpg"))[::41]
    if not files:
        pytest.skip(f"no {pack} in {DATA}")
    reader = ImageReader(224, shorter=256)
    want = Compose([Resize(256, interpolation=InterpolationMode.BICUBIC), CenterCrop(224)])
    for file in files:
        got = reader(file)
        with Image.open(file) as picture:
            if min(picture.size) < 1024:
                np.testing.assert_array_equal(got, np.asarray(want(picture.convert("RGB"))), err_msg=file.name)
