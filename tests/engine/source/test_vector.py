import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quiver.engine.source import open_vectors
from quiver.errors import BadData

VECTORS = np.arange(12, dtype=np.float32).reshape(6, 2) / 8


def read(stream, size=4):
    rows = [row for batch in stream.batches(size) for row in batch.to_pylist()]
    return [row["id"] for row in rows], np.array([row["vector"] for row in rows], np.float32), rows


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return str(path)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.uint8, np.int32])
def test_an_npy_of_any_number_type_is_read_as_float32(tmp_path, kind):
    array = (VECTORS * 8).astype(kind)
    stream = open_vectors(save(tmp_path / "v.npy", array))
    assert (stream.total, stream.dim) == (6, 2)
    ids, vectors, _ = read(stream)
    assert ids == [f"v#{row}" for row in range(6)]
    np.testing.assert_array_equal(vectors, VECTORS * 8)


def test_the_vector_is_the_last_column_and_fixed_in_size(tmp_path):
    batches = list(open_vectors(save(tmp_path / "v.npy", VECTORS)).batches(4))
    assert [len(batch) for batch in batches] == [4, 2]
    assert batches[0].schema.names == ["id", "text", "image", "audio", "video", "before", "after", "vector"]
    assert batches[0].schema.field("vector").type == pa.list_(pa.float32(), 2)


def test_rows_that_are_not_finite_are_problems(tmp_path):
    array = VECTORS.astype(np.float64)
    array[1, 0], array[4, 1], array[5] = np.nan, 1e300, np.inf
    stream = open_vectors(save(tmp_path / "v.npy", array))
    ids, vectors, _ = read(stream, 5)
    assert ids == ["v#0", "v#2", "v#3"]
    np.testing.assert_array_equal(vectors, VECTORS[[0, 2, 3]])
    assert [(found.id, found.reason[:20]) for found in stream.problems()] == [
        ("v#1", "1 of its 2 numbers a"),
        ("v#4", "1 of its 2 numbers a"),
        ("v#5", "2 of its 2 numbers a"),
    ]


def test_a_fortran_array_keeps_its_rows(tmp_path):
    _, vectors, _ = read(open_vectors(save(tmp_path / "v.npy", np.asfortranarray(VECTORS))))
    np.testing.assert_array_equal(vectors, VECTORS)


def test_the_array_of_an_npz_is_its_only_matrix_or_the_one_named(tmp_path):
    np.savez(tmp_path / "v.npz", base=VECTORS, labels=np.arange(6))
    _, vectors, _ = read(open_vectors(str(tmp_path / "v.npz")))
    np.testing.assert_array_equal(vectors, VECTORS)
    np.savez_compressed(tmp_path / "two.npz", base=VECTORS, queries=VECTORS[::-1])
    with pytest.raises(BadData, match=r"name the array .* it contains base \(6, 2\) float32, queries"):
        open_vectors(str(tmp_path / "two.npz"))
    _, vectors, _ = read(open_vectors(str(tmp_path / "two.npz"), column="queries"))
    np.testing.assert_array_equal(vectors, VECTORS[::-1])


def clip_retrieval(root):
    for part, rows in enumerate((slice(0, 4), slice(4, 6))):
        number = (2, 10)[part]  # 2 comes before 10
        save(root / f"img_emb/img_emb_{number}.npy", VECTORS[rows].astype(np.float16))
        save(root / f"text_emb/text_emb_{number}.npy", -VECTORS[rows])
        (root / "metadata").mkdir(exist_ok=True)
        described = {"image_path": [f"{n}.jpg" for n in range(6)][rows], "caption": list("abcdef")[rows]}
        described["key"] = [f"k{n}" for n in range(6)][rows]
        pq.write_table(pa.table(described), root / f"metadata/metadata_{number}.parquet")
    return str(root)


def test_a_folder_of_clip_retrieval_joins_its_three_parts(tmp_path):
    stream = open_vectors(clip_retrieval(tmp_path / "out"), column="img_emb")
    ids, vectors, rows = read(stream, 5)
    assert ids == [f"k{n}" for n in range(6)]
    np.testing.assert_array_equal(vectors, VECTORS)
    assert [row["caption"] for row in rows] == list("abcdef")
    assert rows[5]["image"] == str(tmp_path / "out/metadata/5.jpg")
    _, vectors, _ = read(open_vectors(str(tmp_path / "out"), column="text_emb"))
    np.testing.assert_array_equal(vectors, -VECTORS)


def test_two_kinds_of_vectors_in_a_folder_must_be_chosen(tmp_path):
    with pytest.raises(BadData, match="holds img_emb and text_emb: name one with --column"):
        open_vectors(clip_retrieval(tmp_path / "out"))


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 2), pa.list_(pa.float64()), pa.large_list(pa.float16())])
def test_a_parquet_column_of_lists_with_its_other_columns(tmp_path, kind):
    columns = {"id": [f"i{n}" for n in range(6)], "embedding": pa.array(VECTORS.tolist(), kind), "n": range(6)}
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), tmp_path / "v.parquet")
    stream = open_vectors(str(tmp_path / "v.parquet"))
    ids, vectors, rows = read(stream)
    assert (stream.dim, stream.schema.names, stream.notes) == (2, ["n"], ())
    assert ids == [f"i{n}" for n in range(6)]
    assert [row["n"] for row in rows] == list(range(6))
    np.testing.assert_array_equal(vectors, VECTORS)


def test_a_row_of_another_length_or_none_is_a_problem(tmp_path):
    lists = pa.array([None, [1.0, 2.0], [1.0], [3.0, 4.0, 5.0], [6.0, None], [7.0, 8.0]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"embedding": lists}), tmp_path / "v.parquet")
    stream = open_vectors(str(tmp_path / "v.parquet"))
    ids, vectors, _ = read(stream)
    assert ids == ["v#1", "v#5"]
    np.testing.assert_array_equal(vectors, [[1, 2], [7, 8]])
    assert [found.id for found in stream.problems()] == ["v#0", "v#2", "v#3", "v#4"]


def test_metadata_may_come_from_a_csv_and_name_the_ids(tmp_path):
    path = save(tmp_path / "v.npy", VECTORS)
    (tmp_path / "m.csv").write_text("sku,n\n" + "".join(f"0{n},{n}\n" for n in range(6)))
    ids, _, rows = read(open_vectors(path, metadata=str(tmp_path / "m.csv"), id_column="sku"))
    assert ids == [f"0{n}" for n in range(6)]
    assert [(row["sku"], row["n"]) for row in rows][5] == ("05", 5)


def test_ids_that_repeat_keep_the_first(tmp_path):
    path = save(tmp_path / "v.npy", VECTORS)
    (tmp_path / "m.csv").write_text("sku\na\nb\na\nc\nd\ne\n")
    stream = open_vectors(path, metadata=str(tmp_path / "m.csv"), id_column="sku")
    ids, vectors, _ = read(stream)
    assert ids == list("abcde")
    np.testing.assert_array_equal(vectors, np.delete(VECTORS, 2, 0))
    assert [found.id for found in stream.problems()] == ["a"]


def test_metadata_of_another_length_is_refused(tmp_path):
    path = save(tmp_path / "v.npy", VECTORS)
    (tmp_path / "m.csv").write_text("sku\na\nb\n")
    with pytest.raises(BadData, match="6 vectors, but 2 rows in"):
        open_vectors(path, metadata=str(tmp_path / "m.csv"))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("v.npy", np.arange(3.0), r"must be \(n, dim\) numbers, not \(3,\) of float64"),
        ("v.npy", np.array([["a"]]), "must be .n, dim. numbers"),
        ("v.npy", np.array([[None]], object), "must be .n, dim. numbers"),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, name, array, message):
    with pytest.raises(BadData, match=message):
        open_vectors(save(tmp_path / name, array))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.npy", b"not numpy", "is not a complete npy file"),
        ("v.npz", b"not a zip", "is not a complete npz file"),
        ("v.parquet", b"not parquet", "is not a complete Parquet file"),
        ("v.bin", b"", "vectors must be in a .npy, .npz or .parquet file"),
        ("empty/readme.md", b"", "holds no file of"),
    ],
)
def test_files_without_vectors_are_refused(tmp_path, name, content, message):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadData, match=message):
        open_vectors(str(tmp_path / name.split("/")[0]))


def test_a_cut_npy_and_widths_that_differ_are_refused(tmp_path):
    path = save(tmp_path / "p/0.npy", VECTORS)
    save(tmp_path / "p/1.npy", VECTORS[:, :1])
    with pytest.raises(BadData, match=r"differ in width: 2 in .*0.npy, 1 in .*1.npy"):
        open_vectors(str(tmp_path / "p"))
    data = (tmp_path / "p/0.npy").read_bytes()
    (tmp_path / "p/0.npy").write_bytes(data[:-8])
    with pytest.raises(BadData, match="is truncated"):
        open_vectors(path)
    with pytest.raises(BadData, match="there is no file"):
        open_vectors(str(tmp_path / "nowhere.npy"))
