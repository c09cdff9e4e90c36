import pytest
import torch
from skimage.metrics import structural_similarity
from skimage.transform import downscale_local_mean

from attacks.toys import pictures
from faceveil.objectives.dissimilarity import Dissimilarity


def reference(image, original):
    """scikit-image's SSIM with the windows of Wang et al., 2004."""
    settings = {"gaussian_weights": True, "use_sample_covariance": False, "channel_axis": 2, "data_range": 1.0}
    arrays = (picture.permute(1, 2, 0).double().numpy() for picture in (image, original))
    return (1 - structural_similarity(*arrays, **settings)) / 2


def halved(image):
    return torch.from_numpy(downscale_local_mean(image.double().numpy(), (1, 2, 2)))


@pytest.fixture(scope="module")
def pair():
    """The second pictures are the first with noise of three sizes."""
    originals = pictures(3, size=48)
    noise = torch.tensor([0.02, 0.1, 0.3])[:, None, None, None] * (pictures(3, 1, 48) - 0.5)
    return (originals + noise).clamp(0, 1), originals


def test_is_scikit_images(pair):
    images, originals = pair
    expected = [reference(*each) for each in zip(images, originals, strict=True)]
    assert Dissimilarity(originals)(images).tolist() == pytest.approx(expected, abs=1e-5)


def test_scales_are_the_means_of_halved_images(pair):
    images, originals = pair
    pairs = list(zip(images, originals, strict=True))
    expected = [(reference(*each) + reference(*map(halved, each))) / 2 for each in pairs]
    assert Dissimilarity(originals, scales=2)(images).tolist() == pytest.approx(expected, abs=1e-5)


def test_what_may_not_change_does_not_count(pair):
    """The upper halves alone, where the windows reach no further than the middle."""
    images, originals = pair
    share = torch.zeros(3, 1, 48, 48)
    share[:, :, :19] = 1
    upper = Dissimilarity(originals[:, :, :24], share[:, :, :24])(images[:, :, :24])
    assert torch.allclose(Dissimilarity(originals, share)(images), upper, atol=1e-6)


def test_some_of_the_images(pair):
    images, originals = pair
    chosen = torch.tensor([2, 0])
    whole = Dissimilarity(originals, torch.rand(3, 1, 48, 48))
    assert torch.allclose(whole[chosen](images[chosen]), whole(images)[chosen])
