"""Randomised smoothing: a classifier that votes over noisy copies of its input, and a proof of how far that holds.

References: Cohen, Rosenfeld and Kolter 2019 (Certified adversarial robustness via randomized smoothing).
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wardline.core import NoProgress, Progress, SecureRandom, Seeds
from wardline.core.checks import at_least, positive, probability
from wardline.models.predictor import Gives, Inputs
from wardline.models.torch_model import torch_generator
from wardline.robust.smoothing_bounds import Certificate, certificate, votes_needed, winner
from wardline.robust.smoothing_layers import LinearStart

_SILENT = NoProgress()
_ROWS = 512  # noisy copies at a time
_NUMBERS = (
    1 << 15
)  # of them in a batch for convolutions, whose inner layers are many times as large: they fit the cache


class NoiseSource(Protocol):
    """Where the noise comes from."""

    def gaussian(self, count: int) -> npt.NDArray[np.float64]:
        """`count` independent standard normal numbers."""


class InsecureNoise:
    """Noise that can be repeated, for tests and experiments alone.

    Whoever knows the seed knows every vote, and can look for an input inside the certified radius that loses it.

    Args:
        seeds: where the stream starts.
    """

    def __init__(self, seeds: Seeds) -> None:
        self._generator = seeds.numpy("smoothing")

    def gaussian(self, count: int) -> npt.NDArray[np.float64]:
        """`count` standard normal numbers."""
        return self._generator.standard_normal(count)


class SmoothedClassifier:
    """The class that a classifier gives most often when Gaussian noise is added to its input.

    A network that begins with a linear layer narrower than its input gets the noise behind that layer, where it has the
    same distribution (see `LinearStart`). Noisy inputs are never clipped to a range: that would be another classifier
    than the one the theorem speaks of.

    Args:
        module: maps [rows, ...] to logits, or to anything whose largest entry is the class; it is copied and put into
            evaluation mode. It must answer the same for the same input. It should have been trained with noise of the
            same sigma.
        classes: how many classes it tells apart, at least 2.
        sigma: standard deviation of the noise on each feature, in the unit of the inputs, above 0. Larger ones certify
            farther and classify worse.
        noise: where it comes from; None takes a source that nobody can predict.

    Raises:
        ValueError: for less than two classes or a sigma that is not above 0.

    Guarantee: with probability at least 1 - alpha over the noise of one call of `certify`, the smoothed classifier
    gives the class in the certificate to every input nearer than its radius in Euclidean distance, whatever the
    adversary knows of the model and the input. It holds for the exact vote, whose outcome `predict` misses with
    probability at most its own alpha. It assumes that the adversary chose the input without knowing the noise, and
    exact arithmetic. It says nothing of changes beyond the radius, of other norms except as they bound this one (a
    change of at most e in every one of d features is at most e sqrt(d) long), or of whether the class is right.
    """

    def __init__(self, module: nn.Module, *, classes: int, sigma: float, noise: NoiseSource | None = None) -> None:
        at_least("classes", classes, 2)
        if not (math.isfinite(sigma) and sigma > 0):
            raise ValueError(f"sigma must be a finite number above 0, not {sigma}")
        self._module = copy.deepcopy(module).eval().requires_grad_(False)
        self._classes = classes
        self.sigma = sigma
        self._noise = SecureRandom() if noise is None else noise
        self._start = LinearStart.of(self._module)
        self._convolutions = any(isinstance(part, nn.Conv2d) for part in self._module.modules())
        if self._convolutions:
            self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._classes

    def predict(self, x: Inputs, *, draws: int = 1000, alpha: float = 0.001) -> npt.NDArray[np.int64]:
        """The class of each input by a vote, [rows]; -1 where the vote is too close to tell.

        Args:
            x: inputs [rows, ...].
            draws: noisy copies of each, at least 1.
            alpha: the probability with which one answer may differ from the smoothed classifier's, in (0, 1).
        """
        at_least("draws", draws, 1)
        probability("alpha", alpha)
        return np.array([winner(self.votes(row, draws=draws), alpha=alpha) for row in x], dtype=np.int64)

    def certify(
        self,
        x: Inputs,
        *,
        draws: int = 10_000,
        selection: int = 100,
        alpha: float = 0.001,
        enough: float | None = None,
        progress: Progress = _SILENT,
    ) -> tuple[Certificate, ...]:
        """A certificate for each input; see the class for what it guarantees.

        An input whose certificate has become impossible is not drawn to the end: the answer would be the same.

        Args:
            x: inputs [rows, ...].
            draws: the most noisy copies that bound the probability, at least 1. Votes that all agree certify
                sigma times 2.46 with 1,000, 3.20 with 10,000 and 3.81 with 100,000 at alpha 0.001.
            selection: further copies, drawn before, that choose the class; at least 1.
            alpha: the probability with which one certificate may be wrong, in (0, 1).
            enough: a radius above 0 that one wants to know of; counting ends as soon as it is certified. What was
                counted is looked at after 100 copies and whenever there are about three times as many, and alpha is
                divided among these looks. Such a certificate is as valid and as rarely wrong, but not as large as it
                could be. None draws all.
            progress: told how many inputs are done.
        """
        at_least("draws", draws, 1)
        at_least("selection", selection, 1)
        probability("alpha", alpha)
        looks = (draws,) if enough is None else _looks(draws)
        wanted = math.inf if enough is None else positive("enough", enough)
        progress.start("certify", len(x))
        found = []
        for index, row in enumerate(x):
            label = int(self.votes(row, draws=selection).argmax())
            one = self._count(row, label, looks=looks, alpha=alpha / len(looks), wanted=wanted)
            found.append(dataclasses.replace(one, alpha=alpha))
            progress.advance(index + 1)
        progress.finish()
        return tuple(found)

    def _count(
        self, row: npt.NDArray[Any], label: int, *, looks: tuple[int, ...], alpha: float, wanted: float
    ) -> Certificate:
        can_lose = looks[-1] - votes_needed(looks[-1], alpha=alpha)
        won = done = 0
        for look in looks:
            spare = can_lose - (done - won)
            won += int(self.votes(row, draws=look - done, watched=label, lost_after=spare)[label])
            done = look
            if done - won > can_lose:  # counting may have ended early; not even all that was left could save it
                break
            found = certificate(label, won, draws=look, sigma=self.sigma, alpha=alpha)
            if found.radius >= wanted:
                return found
        return certificate(label, won, draws=looks[-1], sigma=self.sigma, alpha=alpha)

    def votes(
        self, row: npt.NDArray[Any], *, draws: int, watched: int | None = None, lost_after: int = 0
    ) -> npt.NDArray[np.int64]:
        """How often each class won among noisy copies of one input: [classes].

        A copy whose logits are not finite votes for nobody.

        Args:
            row: one input, without the axis of rows.
            draws: how many copies.
            watched: a class; counting ends early, with what was counted so far, once more than `lost_after` copies did
                not vote for it.
            lost_after: see `watched`.
        """
        counts = np.zeros(self._classes, dtype=np.int64)
        size = min(draws, max(16, min(_ROWS, _NUMBERS // row.size)) if self._convolutions else _ROWS)
        with torch.inference_mode():
            centre = torch.from_numpy(np.array(row, dtype=np.float32))[None]
            mean = centre if self._start is None else self._start.layer(centre.flatten(1))
            done = 0
            while done < draws:
                rows = min(size, draws - done)
                noise = torch.from_numpy(self._noise.gaussian(rows * mean.numel())).float()
                logits = self._logits(mean, noise.reshape(rows, *mean.shape[1:]))
                if logits.shape != (rows, self._classes):
                    raise ValueError(f"the model answers {tuple(logits.shape)}, not [rows, {self._classes}]")
                labels = logits.argmax(dim=1)[logits.isfinite().all(dim=1)]
                counts += torch.bincount(labels, minlength=self._classes).numpy()
                done += rows
                if watched is not None and done - counts[watched] > lost_after:
                    break
        return counts

    def network(self, *, draws: int, seeds: Seeds) -> nn.Module:
        """What an attacker differentiates in its place: see `SoftVote`."""
        return SoftVote(self._module, sigma=self.sigma, draws=draws, generator=torch_generator(seeds, "soft vote"))

    def _logits(self, mean: Tensor, noise: Tensor) -> Tensor:
        if self._start is None:
            logits: Tensor = self._module(noise.mul_(self.sigma).add_(mean))
        else:
            logits = self._start.rest(torch.addmm(mean, noise, self._start.root.T, alpha=self.sigma))
        return logits


def _looks(draws: int) -> tuple[int, ...]:
    """After how many draws the count is looked at: 100, 316, 1000, ... and all."""
    early = (round(10 ** (half / 2)) for half in range(4, 40))
    return (*itertools.takewhile(lambda count: count < draws, early), draws)


class SoftVote(nn.Module):
    """The logarithm of the mean softmax under fresh noise: the smoothed classifier with a gradient.

    A vote has none. This is what the strongest known attack on smoothed classifiers climbs.

    Args:
        module: maps inputs to logits, in evaluation mode.
        sigma: standard deviation of the noise.
        draws: noisy copies of each input at each call, at least 1.
        generator: where an attacker's noise comes from. It need not be unpredictable: it protects nothing.

    References: Salman et al. 2019 (Provably robust deep learning via adversarially trained smoothed classifiers),
    section 2.2 (SmoothAdv).
    """

    def __init__(self, module: nn.Module, *, sigma: float, draws: int, generator: torch.Generator) -> None:
        super().__init__()
        at_least("draws", draws, 1)
        self.module = module
        self.sigma = sigma
        self.draws = draws
        self._generator = generator
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of mean probabilities: [rows, classes]."""
        copies = x.repeat_interleave(self.draws, dim=0)
        noise = torch.empty_like(copies).normal_(generator=self._generator)
        scores: Tensor = self.module(copies + self.sigma * noise).log_softmax(dim=1)
        return scores.reshape(len(x), self.draws, -1).logsumexp(dim=1) - math.log(self.draws)


class SmoothedPredictor:
    """A smoothed classifier as a model under attack: it answers as `predict` does, and shows `SoftVote`.

    Args:
        smoothed: the classifier.
        draws: noisy copies for each answer.
        alpha: see `SmoothedClassifier.predict`; an abstention is the label -1, which counts for neither side.
        attack_draws: noisy copies for each step of an attacker.
        seeds: of the attacker's noise.
    """

    def __init__(
        self,
        smoothed: SmoothedClassifier,
        *,
        draws: int = 1000,
        alpha: float = 0.001,
        attack_draws: int = 16,
        seeds: Seeds,
    ) -> None:
        self._smoothed = smoothed
        self._draws, self._alpha = draws, alpha
        self._attack_draws, self._seeds = attack_draws, seeds

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._smoothed.classes

    @property
    def gives(self) -> Gives:
        """Labels."""
        return "labels"

    def answer(self, x: Inputs) -> npt.NDArray[np.int64]:
        """The class of each input, -1 where it abstains."""
        return self._smoothed.predict(x, draws=self._draws, alpha=self._alpha)

    def network(self) -> nn.Module:
        """The smoothed classifier with a gradient; an attack on it should set `draws` above 1."""
        return self._smoothed.network(draws=self._attack_draws, seeds=self._seeds)
