"""Dawid and Skene (1979): true classes and each worker's error rates from votes alone, by EM.

No library that the package may depend on has it with its posterior; crowd-kit's is the reference in the
tests, and start, floors and stopping rule here are the same as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FLOOR = 1e-10  # of a prior, and of the expected number of times that a worker said a label


@dataclass(frozen=True, slots=True)
class Fitted:
    """``posterior`` [T, K], ``errors`` [W, K said, K true], ``prior`` [K]; T tasks, W workers, K classes.

    ``bound`` is the evidence lower bound per vote, in nats, after ``iterations`` steps of EM. ``converged``
    is False where the cap came first.
    """

    posterior: Floats
    errors: Floats
    prior: Floats
    bound: float
    iterations: int
    converged: bool


def fit(
    tasks: Ints, workers: Ints, labels: Ints, classes: int, *, iterations: int = 100, tolerance: float = 1e-5
) -> Fitted:
    """EM from the shares of votes, for N votes given as three arrays [N] of indices from 0.

    It stops when the bound grows by less than ``tolerance``. Every task and worker needs a vote.
    """
    said = np.zeros((int(workers.max()) + 1, classes), dtype=bool)
    said[workers, labels] = True
    posterior = np.zeros((int(tasks.max()) + 1, classes))
    np.add.at(posterior, (tasks, labels), 1.0)
    posterior /= posterior.sum(1, keepdims=True)
    prior, errors = posterior.mean(0), _error_rates(posterior, tasks, workers, labels, said)
    bound, converged, steps = -np.inf, False, 0
    while steps < iterations and not converged:
        steps += 1
        posterior = _posterior(prior, errors, tasks, workers, labels)
        prior, errors = posterior.mean(0), _error_rates(posterior, tasks, workers, labels, said)
        before, bound = bound, _bound(posterior, prior, errors, (tasks, workers, labels))
        converged = bound - before < tolerance
    return Fitted(posterior, errors, prior, bound, steps, converged)


def _error_rates(
    posterior: Floats, tasks: Ints, workers: Ints, labels: Ints, said: npt.NDArray[np.bool_]
) -> Floats:
    """M-step (eq. 2.3): P(worker says l | true k) [W, K, K]; 0 for labels that a worker never gave."""
    counts = np.zeros((*said.shape, posterior.shape[1]))
    np.add.at(counts, (workers, labels), posterior[tasks])
    counts = np.where(said[..., None], np.maximum(counts, FLOOR), 0.0)
    rates: Floats = counts / counts.sum(1, keepdims=True)
    return rates


def _posterior(prior: Floats, errors: Floats, tasks: Ints, workers: Ints, labels: Ints) -> Floats:
    """E-step (eq. 2.5) [T, K], in logarithms: products of many votes underflow."""
    logs = np.zeros((int(tasks.max()) + 1, len(prior)))
    np.add.at(logs, tasks, np.log(errors[workers, labels]))
    logs += np.log(np.maximum(prior, FLOOR))
    likelihood = np.exp(logs - logs.max(1, keepdims=True))
    posterior: Floats = likelihood / likelihood.sum(1, keepdims=True)
    return posterior


def _bound(posterior: Floats, prior: Floats, errors: Floats, votes: tuple[Ints, Ints, Ints]) -> float:
    """crowd-kit's evidence lower bound per vote: it counts a task's prior once for each of its votes."""
    tasks, workers, labels = votes
    joint = np.log(errors[workers, labels]) + np.log(np.maximum(prior, FLOOR))
    kept = np.maximum(posterior, FLOOR)
    return float(((posterior[tasks] * joint).sum() - (kept * np.log(kept)).sum()) / len(tasks))
