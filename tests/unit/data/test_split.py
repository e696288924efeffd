"""Splits: carved and chosen as pure functions of the labels; statistics and fingerprints exact."""

from __future__ import annotations

import time
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from priorscope.core.errors import RequestError
from priorscope.data.split import ArrayPixels, Split, balanced_order, balanced_share, carve_val, hashed

PICTURES = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(60, dtype=np.int64) % 3


def make(pictures=PICTURES, labels=LABELS, **more) -> Split:
    return Split("made", "train", ArrayPixels(pictures), labels, ("a", "b", "c"), **more)


labels_of = st.lists(st.integers(0, 4), min_size=10, max_size=300).map(lambda values: np.array(values, np.int64))


@given(labels_of)
def test_val_is_a_stratified_tenth_and_train_is_the_rest(labels):
    train, val = carve_val(labels)
    assert len(val) == round(len(labels) / 10)
    assert sorted([*train, *val]) == list(range(len(labels)))
    for label in np.unique(labels):
        share = (labels == label).sum() / len(labels)
        assert abs((labels[val] == label).sum() - share * len(val)) < 1


def test_val_is_at_most_ten_thousand():
    _, val = carve_val(np.zeros(200_000, np.int64))
    assert len(val) == 10_000


@pytest.mark.parametrize(
    ("counts", "val"),
    [
        ([1000] + [1] * 100, [110] + [0] * 100),  # 10 remainders, all of them of the classes that have one picture
        ([3] + [1] * 97, [2] + [0] * 97),  # no more than 2 pictures can be given
        ([1] * 40, [0] * 40),
        ([25, 25, 50], [2, 3, 5]),  # the larger remainder, of equal ones the class whose number has the smaller hash
    ],
)
def test_no_class_loses_its_last_picture_to_val(counts, val):
    labels = np.repeat(np.arange(len(counts)), counts)
    train, carved = carve_val(labels)
    assert np.bincount(labels[carved], minlength=len(counts)).tolist() == val
    assert np.bincount(labels[train]).tolist() == (np.array(counts) - val).tolist()


@pytest.mark.parametrize(("classes", "each", "val"), [(100, 5, 50), (200, 9, 180), (101, 5, 50)])
def test_val_is_of_small_classes_from_all_over(classes, each, val):
    """Where all remainders are equal, every quarter of the classes gets about its share: within 4 standard deviations."""
    _, carved = carve_val(np.repeat(np.arange(classes), each))
    quarters = np.histogram(carved // each, bins=4, range=(0, classes))[0]
    share = val / classes
    assert len(carved) == val
    assert np.abs(quarters - val / 4).max() < 4 * np.sqrt(classes / 4 * share * (1 - share))


@pytest.mark.parametrize(
    ("classes", "each", "digest"),
    [
        (10, 5000, "974fb347aeba045e"),  # CIFAR-10
        (100, 500, "85fb46f0cc216eca"),  # CIFAR-100
        (200, 500, "f82cb8619944b166"),  # Tiny ImageNet
        (100, 100, "11f58f7209650bd9"),
    ],
)
def test_val_of_even_classes_is_what_it_always_was(classes, each, digest):
    """Networks were trained without these very pictures: an exact share of each class leaves no remainder to break."""
    _, val = carve_val(np.repeat(np.arange(classes), each))
    assert np.bincount(val // each).tolist() == [each // 10] * classes
    assert blake2b(val.tobytes(), digest_size=8).hexdigest() == digest


@given(labels_of, st.data())
def test_subsets_are_nested_and_class_balanced(labels, data):
    order = balanced_order(labels)
    assert sorted(order) == list(range(len(labels)))
    n = data.draw(st.integers(1, len(labels)))
    taken = np.bincount(labels[order[:n]], minlength=5)
    left = np.bincount(labels[order[n:]], minlength=5)
    most = taken.max()
    assert all(taken[c] >= most - 1 for c in range(5) if left[c]), "only a class that has run out may lag"


@given(labels_of)
def test_shares_and_orders_are_those_of_the_plain_rule(labels):
    """Class by class: its pictures in the order of their hashes; rank within the class first, then the hash."""
    order = [int(i) for i in np.argsort(hashed(len(labels)), kind="stable")]
    members = {c: [i for i in order if labels[i] == c] for c in range(5)}
    wanted = sorted(order, key=lambda i: (members[labels[i]].index(i), order.index(i)))
    assert balanced_order(labels).tolist() == wanted
    size = len(labels) // 3
    exact = {c: len(own) * (size / len(labels)) for c, own in members.items() if own}
    take = {c: int(share) for c, share in exact.items()}
    turn = hashed(5)
    while sum(take.values()) < size and (able := [c for c in take if take[c] < len(members[c]) - 1]):
        take[min(able, key=lambda c: (take[c] - exact[c], turn[c]))] += 1
    assert balanced_share(labels, size).tolist() == sorted(i for c, count in take.items() for i in members[c][:count])


def test_orders_of_many_classes_take_no_pass_a_class():
    """A pass over 400,000 pictures for each of 20,000 classes would take a minute."""
    labels = np.arange(400_000) % 20_000
    began = time.process_time()
    assert np.bincount(labels[balanced_order(labels)[:20_000]]).tolist() == [1] * 20_000
    assert np.bincount(labels[balanced_share(labels, 40_000)]).tolist() == [2] * 20_000
    assert time.process_time() - began < 5


def test_a_subset_lies_in_every_larger_one():
    split = make()
    small, large = split.subset(12), split.subset(30)
    pixels = {large.pixels.read(i).tobytes() for i in range(30)}
    assert all(small.pixels.read(i).tobytes() in pixels for i in range(12))
    assert np.bincount(small.labels).tolist() == [4, 4, 4]


def test_statistics_are_those_of_all_pixels():
    mean, std = (PICTURES / 255).mean((0, 1, 2)), (PICTURES / 255).std((0, 1, 2))
    np.testing.assert_allclose(make().statistics.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(make().statistics.std, std, rtol=1e-9)


def test_a_fingerprint_names_every_pixel_label_and_column():
    seen = {make().fingerprint, make(PICTURES.copy()).fingerprint}
    assert len(seen) == 1
    other = PICTURES.copy()
    other[59, 7, 7, 2] ^= 1
    seen |= {
        make(other).fingerprint,
        make(labels=np.roll(LABELS, 1)).fingerprint,
        make(columns={"real": LABELS}).fingerprint,
        make(columns={"real": LABELS[::-1].copy()}).fingerprint,
        make().subset(59).fingerprint,
    }
    assert len(seen) == 6


class Uneven:
    """Pictures of different sizes."""

    size = array = None

    def __init__(self, *pictures: np.ndarray) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int) -> np.ndarray:
        return self._pictures[index]


def test_where_sizes_differ_a_fingerprint_is_of_the_shape_of_each_picture():
    """The same bytes one after the other, cut otherwise."""
    first, second = PICTURES.ravel()[:24], PICTURES.ravel()[24:48]
    wide, high = (2, 4, 3), (4, 2, 3)
    splits = [
        Split("made", "train", Uneven(first.reshape(one), second.reshape(other)), LABELS[:2], ("a", "b"))
        for one, other in ((wide, high), (high, wide), (wide, high))
    ]
    one, turned, again = (split.fingerprint for split in splits)
    assert one == again != turned


@pytest.mark.parametrize("kind", ["bool", "uint8", "int32", "float16", "float32"])
def test_a_columns_type_in_memory_is_no_part_of_a_fingerprint(kind):
    """A store has numbers of 64 bits alone."""
    column = np.arange(60).astype(kind)
    wide = column.astype(np.float64 if kind.startswith("float") else np.int64)
    assert make(columns={"real": column}).fingerprint == make(columns={"real": wide}).fingerprint


def test_fingerprints_are_the_ones_they_were():
    """Of columns of 64 bits: whatever is stored under a fingerprint must be found again."""
    columns = {"real": LABELS, "score": LABELS / 7, "rows": np.arange(120, dtype=np.int16).reshape(60, 2)}
    assert make(columns=columns).fingerprint == "0dd0936d1ca7c52c"


def test_a_split_gives_pictures_and_labels_like_a_dataset():
    image, label = make()[4]
    np.testing.assert_array_equal(image, PICTURES[4])
    assert label == 1
    assert make()[-1][1] == 2
    with pytest.raises(IndexError):
        make()[60]


def test_labels_outside_of_the_classes_are_refused():
    with pytest.raises(RequestError) as caught:
        make(labels=np.where(np.arange(60) == 7, 3, LABELS))
    assert (
        str(caught.value)
        == "made/train: picture 7 has label 3.\n  wanted: 0 to 2\n  try:    check its labels, or name all of its classes"
    )


@pytest.mark.parametrize("pictures", [PICTURES.astype(np.float32), PICTURES[..., :1], PICTURES[0]])
def test_pictures_of_another_form_are_refused(pictures):
    with pytest.raises(RequestError, match="uint8 with shape"):
        ArrayPixels(pictures)


def test_the_hash_is_splitmix64():
    """The first outputs of splitmix64 from seed 0, as published with the generator (Vigna 2015)."""
    assert [hex(x) for x in hashed(3).tolist()] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]


class Store:
    """Pictures larger than memory: whoever asks for many at once is refused."""

    size = (4, 4)

    def __init__(self, pictures: np.ndarray, most: int) -> None:
        self.shape, self.dtype, self._pictures, self._most = pictures.shape, pictures.dtype, pictures, most

    @property
    def array(self):
        return self

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, rows):
        taken = self._pictures[rows]
        assert len(taken) <= self._most
        return taken


def test_a_part_of_a_store_larger_than_memory_is_counted_in_blocks():
    pictures = np.random.default_rng(0).integers(0, 256, (3000, 4, 4, 3), np.uint8)
    labels = np.arange(3000) % 3
    store = Split("made", "train", Store(pictures, most=1024), labels, ("a", "b", "c"))
    chosen = np.flatnonzero(np.arange(3000) % 7)
    part, same = store.choose(chosen).subset(2001), make(pictures, labels).choose(chosen).subset(2001)
    assert part.fingerprint == same.fingerprint
    assert part.statistics == same.statistics
    assert part.fingerprint == make(same.pixels.array, same.labels).fingerprint
