import torch

from wardline.robust.training.augment import augmented
from wardline.robust.training.config import Augmentation


def draw(rows, how, seed=0):
    return augmented(rows, how, generator=torch.Generator().manual_seed(seed))


def test_nothing_to_do_leaves_images_as_they_are():
    rows = torch.rand(5, 2 * 3 * 4)
    assert torch.equal(draw(rows, Augmentation(shape=(2, 3, 4), mirror=False, shift=0)), rows)


def test_every_result_is_the_image_moved_and_perhaps_mirrored():
    shape, shift = (2, 3, 4), 1
    image = torch.arange(1.0, 25.0).reshape(shape)
    possible = {}
    for mirrored in (False, True):
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                moved = torch.zeros(shape)
                for row in range(3):
                    for column in range(4):
                        if 0 <= row + down < 3 and 0 <= column + right < 4:
                            moved[:, row, column] = image[:, row + down, column + right]
                moved = moved.flip(2) if mirrored else moved
                possible[tuple(moved.flatten().tolist())] = (mirrored, down, right)
    assert len(possible) == 18
    # Each of 18 cases is missing from 1,000 draws with probability below 18 (17/18)^1000 < 1e-23.
    rows = draw(image.flatten().expand(1000, 24), Augmentation(shape=shape, mirror=True, shift=shift))
    found = {possible[tuple(row.tolist())] for row in rows}
    assert len(found) == 18


def test_the_same_generator_moves_images_alike():
    rows, how = torch.rand(5, 24), Augmentation(shape=(2, 3, 4), mirror=True, shift=2)
    assert torch.equal(draw(rows, how), draw(rows, how))
    assert not torch.equal(draw(rows, how), draw(rows, how, seed=1))
