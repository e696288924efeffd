"""What a picture is made of while it is being followed: its pixels, or its spectrum.

A form turns pictures in [0, 1] into free numbers (`encode`) and back (`decode`), and puts the numbers back into their range
after a step (`project`). The form is part of the result: a gradient step in the spectrum moves the same picture elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Form = Literal["natural", "fourier", "pixels", "z-normalised"]

EDGE = 0.005
"""How near 0 and 1 a picture may lie before it is encoded: a sigmoid reaches neither."""


def as_images(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 (N, H, W, 3) as pictures in [0, 1], NCHW."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float().contiguous() / 255


def as_bytes(images: Tensor) -> NDArray[np.uint8]:
    """Pictures as they are shown and stored: rounded to 8 bits, uint8 (N, H, W, 3)."""
    return (images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


class Parameterisation(Protocol):
    """Free numbers that stand for pictures."""

    def encode(self, images: Tensor) -> Tensor:
        """The numbers (first axis: pictures) whose pictures these are."""
        ...

    def decode(self, numbers: Tensor) -> Tensor:
        """The pictures that the numbers stand for."""
        ...

    def project(self, numbers: Tensor) -> None:
        """Puts numbers that a step took out of their range back into it, in place."""
        ...


@dataclass(frozen=True)
class Palette:
    """How the colours of real pictures lie: their mean, and the root of their covariance, its longest column made 1."""

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Palette:
        """The palette of real pictures; no variance below 1/1000 of the largest, so that grey pictures have one too."""
        colours = images.cpu().double().transpose(0, 1).flatten(1)  # Apple's GPUs have no float64
        mean = colours.mean(1)
        values, axes = torch.linalg.eigh(torch.cov(colours))
        held = values.clamp_min(max(float(values[-1]), 1e-6) * 1e-3)
        root = axes @ torch.diag(held.sqrt()) @ axes.T
        return cls(mean.float().to(images.device), (root / root.norm(dim=0).max()).float().to(images.device))


class Pixels:
    """The pixels themselves, clamped to [0, 1] after every step."""

    def encode(self, images: Tensor) -> Tensor:
        return images.clone()

    def decode(self, numbers: Tensor) -> Tensor:
        return numbers

    def project(self, numbers: Tensor) -> None:
        numbers.clamp_(0.0, 1.0)


class Fourier:
    """The spectrum of decorrelated colours under a sigmoid (Olah et al., "Feature Visualization", Distill 2017).

    Amplitudes are divided by their frequency, so that one step moves all frequencies as natural pictures weigh them, and
    colours are turned by the root of the data's own colour covariance (the published code takes ImageNet's). All zeros are
    a plain picture of the data's mean colour.
    """

    def __init__(self, side: int, palette: Palette) -> None:
        self.side = side
        self.frequency = _frequencies(side).to(palette.mean.device)
        self.scale = 1 / self.frequency.clamp_min(1 / side)
        self.base = palette.mean.clamp(EDGE, 1 - EDGE).logit()[:, None, None]
        self.root = palette.root
        self.back = torch.linalg.inv(palette.root.cpu().double()).float().to(palette.root.device)

    def encode(self, images: Tensor) -> Tensor:
        colours = images.clamp(EDGE, 1 - EDGE).logit() - self.base
        plain = torch.einsum("oc,nchw->nohw", self.back, colours)
        return torch.view_as_real(torch.fft.rfft2(plain, norm="ortho")) / self.scale[..., None]

    def decode(self, numbers: Tensor) -> Tensor:
        spectrum = torch.view_as_complex((numbers * self.scale[..., None]).contiguous())
        plain = torch.fft.irfft2(spectrum, s=(self.side, self.side), norm="ortho")
        return (torch.einsum("oc,nchw->nohw", self.root, plain) + self.base).sigmoid()

    def project(self, numbers: Tensor) -> None:
        """A spectrum has no range to leave: the sigmoid keeps every picture in [0, 1]."""


class Natural(Fourier):
    """The spectrum scaled by the amplitudes of real pictures: at each frequency their numbers have a mean square of 1.

    Where it is `held`, a frequency at which a picture's numbers have a larger mean square is scaled back after every step: a
    network chooses phases, directions and colours, and has no more contrast than real pictures at any scale. It is the
    constraint of MACO (Fel et al., arXiv 2306.06805), by frequency and from above. Without it pictures are driven to the
    ends of the range, or into one plain colour, and networks are compared by how far.
    """

    def __init__(self, side: int, palette: Palette, real: Tensor, *, held: bool) -> None:
        super().__init__(side, palette)
        self.held = held
        self.ring = (self.frequency * side).round().long().clamp(max=side // 2)
        self.count = torch.bincount(self.ring.flatten(), minlength=side // 2 + 1)
        mean = self._by_frequency(super().encode(real) * self.scale[..., None]).cpu().double().mean(0)
        self.scale = mean.clamp_min(1e-8 * float(mean.max())).sqrt().float().to(real.device)[self.ring]

    def project(self, numbers: Tensor) -> None:
        if self.held:
            size = self._by_frequency(numbers).sqrt().clamp_min(1.0)
            numbers /= size[:, self.ring][:, None, :, :, None]

    def _by_frequency(self, numbers: Tensor) -> Tensor:
        """(pictures, frequencies) the mean square of their numbers, over directions and colours."""
        squares = numbers.square().mean((1, 4)).flatten(1)
        return squares.new_zeros(len(numbers), len(self.count)).index_add(1, self.ring.flatten(), squares) / self.count


def _frequencies(side: int) -> Tensor:
    """(side, side // 2 + 1) periods a pixel of the real spectrum's numbers."""
    return (torch.fft.fftfreq(side)[:, None].square() + torch.fft.rfftfreq(side)[None, :].square()).sqrt()


class ZNormalised:
    """The normalised pixels of the "zooming in on MLPs" study, clamped to [0.0001, 1] after every step as there.

    Normalised pixels below 0 are those darker than the mean colour, so about half of all pictures cannot be made: a fault,
    kept so that the study's setting can be repeated.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)

    def encode(self, images: Tensor) -> Tensor:
        return ((images - self.mean) / self.std).clamp(1e-4, 1.0)

    def decode(self, numbers: Tensor) -> Tensor:
        return numbers * self.std + self.mean

    def project(self, numbers: Tensor) -> None:
        numbers.clamp_(1e-4, 1.0)


def form_of(form: Form, real: Tensor, mean: Tensor, std: Tensor, *, held: bool = True) -> Parameterisation:
    """The form of a name, for pictures like real ones; `mean` and `std` are the classifier's own.

    `held` says whether natural pictures are held at the contrast of real ones.
    """
    if form == "pixels":
        return Pixels()
    if form == "z-normalised":
        return ZNormalised(mean, std)
    side, palette = real.shape[-1], Palette.of(real)
    return Fourier(side, palette) if form == "fourier" else Natural(side, palette, real, held=held)


NOISE = 0.01
"""Standard deviation of a start's free numbers around a plain picture (the published code's value for spectra)."""


def plain_start(form: Parameterisation, real: Tensor) -> Tensor:
    """The free numbers of a plain picture of real pictures' mean colour."""
    return form.encode(real.mean((0, 2, 3), keepdim=True).expand(1, 3, *real.shape[2:]).contiguous())


def noisy_starts(form: Parameterisation, real: Tensor, streams: Iterable[np.random.Generator]) -> Tensor:
    """The free numbers of nearly plain pictures, one a stream of random numbers."""
    plain = plain_start(form, real)
    draws = [draw.standard_normal(plain.shape[1:]) for draw in streams]
    begun = plain + NOISE * torch.from_numpy(np.stack(draws).astype(np.float32)).to(real.device)
    form.project(begun)
    return begun
