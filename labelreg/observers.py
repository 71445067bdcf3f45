"""Observers: functions called with the trainer after every epoch, to record more than the metrics.

The costly ones are called after the last epoch only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot, softmax

from labelreg import metrics
from labelreg.data import Split
from labelreg.losses import class_means, js_divergence, soft_cross_entropy
from labelreg.methods.alr import residual_probabilities
from labelreg.networks import reset_state
from labelreg.training import Observer, Trainer

SAMPLES = 10_000  # training samples observed, so that observing a large data set stays cheap
SHOWN = 200  # training samples whose labels are kept one by one
NOISE = 1_000  # images of noise, the same for every run
# sizes of noise and attack, for pixels in [0, 1]
NOISE_DEVIATIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
ATTACK_STEPS = (0.0, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2)

Check = Callable[[Trainer], None]
OBSERVERS: dict[str, Observer] = {}


def observer(check: Check | None = None, at_end: bool = False) -> Callable[[Observer], Observer]:
    """Register an observer under its function's name; before training, ``check`` raises an error if it cannot apply."""

    def register(function: Observer) -> Observer:
        function.at_end = at_end
        if check is not None:
            function.check = check
        OBSERVERS[function.__name__] = function
        return function

    return register


def _method_has(attribute: str, otherwise: str) -> Check:
    def check(trainer: Trainer) -> None:
        if not hasattr(trainer.method, attribute):
            raise ValueError(f"{type(trainer.method).__name__} {otherwise} that could be observed")

    return check


def _looks_at_images(trainer: Trainer) -> None:
    name, shape = trainer.dataset.name, trainer.dataset.input_shape
    if len(shape) != 3:
        raise ValueError(f"noise and attacks are made for images (C, H, W), and a sample of {name} is {shape}")


def _can_be_attacked(trainer: Trainer) -> None:
    _looks_at_images(trainer)
    for part in trainer.method.modules():
        if getattr(part, "vote", False):
            name = type(part).__name__
            raise ValueError(f"an attack follows the gradient of the prediction, and the vote of {name} has none")


_learns_residual_labels = _method_has("residual_labels", "learns no residual labels")


@observer()
def class_distributions(trainer: Trainer) -> dict[str, Any]:
    """Class means (K, K) of the softmax over all, and (zero on the diagonal) over the wrong classes (KR figure 2)."""
    logits, targets = trainer.predict(_first_samples(trainer))
    classes = logits.shape[1]
    return {
        "soft_labels": class_means(softmax(logits, 1), targets, classes),
        "residual_outputs": class_means(residual_probabilities(logits, targets), targets, classes),
    }


@observer(_learns_residual_labels)
def residual_labels(trainer: Trainer) -> dict[str, Any]:
    """The learned residual labels (K, K), zero on the diagonal (ALR figure 3)."""
    return {"residual_labels": trainer.method.residual_labels()}


@observer(_learns_residual_labels)
def residual_divergence(trainer: Trainer) -> dict[str, Any]:
    """Mean Jensen-Shannon divergence, in nats, of residual outputs and learned residual labels (KR figure 4, left)."""
    logits, targets = trainer.predict(_first_samples(trainer))
    learned = trainer.method.residual_labels()[targets]
    return {"residual_divergence": js_divergence(residual_probabilities(logits, targets), learned)}


@observer(_method_has("labels", "disturbs no labels"))
def disturbed_labels(trainer: Trainer) -> dict[str, Any]:
    """Disturbed labels (n, K) of the first training samples (NaR figure 1 and eq. 4).

    ``disturbance``, a scalar, is the mean over more samples of their Euclidean distance from the plain labels.
    """
    reset_state(trainer.network, trainer.method)
    labels, targets = [], []
    for batch in trainer.evaluation_batches(_first_samples(trainer)):
        labels.append(trainer.method.labels(trainer.network, batch.inputs, batch.targets))
        targets.append(batch.targets)
    disturbed, plain = torch.cat(labels), one_hot(torch.cat(targets), trainer.dataset.num_classes)
    return {
        "disturbed_labels": disturbed[:SHOWN].clone(),  # without the others' memory
        "disturbance": torch.linalg.vector_norm(disturbed - plain, dim=1).mean(),
    }


@observer()
def reliability(trainer: Trainer) -> dict[str, Any]:
    """Bins (20,) of the test split by confidence: mean confidence and accuracy, NaN if empty, and share of samples."""
    logits, targets = trainer.predict(trainer.dataset.test)
    diagram = metrics.reliability_diagram(softmax(logits, 1), targets)
    share = [count / sum(diagram.count) for count in diagram.count]
    return {"bin_confidence": diagram.confidence, "bin_accuracy": diagram.accuracy, "bin_share": share}


@observer(at_end=True)
def temperature_scaling(trainer: Trainer) -> dict[str, Any]:
    """Calibration error after temperature scaling (Guo et al., 2017).

    The ``temperature`` is fitted on the validation split and evaluated on the test split, by ``unscaled_ece``,
    ``scaled_ece`` and ``scaled_nll``. Without a validation split, it is fitted on every second test sample and
    evaluated on the others. All are scalars.
    """
    test = trainer.dataset.test
    fitted_on, judged_on = test.select(slice(0, None, 2)), test.select(slice(1, None, 2))
    if trainer.validation:
        fitted_on, judged_on = trainer.validation, test
    temperature = metrics.fit_temperature(*trainer.predict(fitted_on))
    logits, targets = trainer.predict(judged_on)
    scaled = logits / temperature
    return {
        "temperature": temperature,
        "unscaled_ece": metrics.expected_calibration_error(softmax(logits, 1), targets),
        "scaled_ece": metrics.expected_calibration_error(softmax(scaled, 1), targets),
        "scaled_nll": metrics.negative_log_likelihood(scaled, targets),
    }


@observer(_can_be_attacked, at_end=True)
def robustness(trainer: Trainer) -> dict[str, Any]:
    """Errors on test images disturbed by Gaussian noise, or by an attack with the fast gradient sign method (FGSM).

    ``noisy_error`` and ``fgsm_error`` (7,) are the errors at ``NOISE_DEVIATIONS`` and ``ATTACK_STEPS``. The noise is
    the same for every run; the attack raises the cross-entropy of the method's own prediction. Pixels are not clipped.
    """
    dataset, method, network = trainer.dataset, trainer.method, trainer.network
    pixel = dataset.pixel_range / dataset.std.to(trainer.device).view(-1, 1, 1)
    draws = torch.Generator(trainer.device).manual_seed(0)
    network.eval()
    method.eval()
    sizes = (NOISE_DEVIATIONS, ATTACK_STEPS)
    wrong = torch.zeros(2, len(ATTACK_STEPS), device=trainer.device)
    for batch in trainer.evaluation_batches(dataset.test):
        inputs = batch.inputs.requires_grad_()
        loss = soft_cross_entropy(method.predict(network, inputs), batch.targets)
        (gradient,) = torch.autograd.grad(loss, inputs)
        noise = torch.empty_like(gradient).normal_(generator=draws)
        with torch.no_grad():
            for row, direction in enumerate((noise, gradient.sign())):
                for column, size in enumerate(sizes[row]):
                    logits = method.predict(network, inputs + size * pixel * direction)
                    wrong[row, column] += (logits.argmax(1) != batch.targets).sum()
    noisy, attacked = wrong / len(dataset.test)
    return {"noisy_error": noisy, "fgsm_error": attacked}


@observer()
def embedding(trainer: Trainer) -> dict[str, Any]:
    """:func:`.recall_at_1` and :func:`.variance_ratio` of the test split's penultimate features (CS-KD section 3.3)."""
    features, targets = _features(trainer, trainer.dataset.test)
    return {name: getattr(metrics, name)(features, targets) for name in ("recall_at_1", "variance_ratio")}


@observer(at_end=True)
def feature_map(trainer: Trainer) -> dict[str, Any]:
    """Penultimate features of training samples by t-SNE, (n, 2), and the samples' ``feature_group`` (CS-KD figure 2).

    The group is the index of the superclass, in the order of the classes, or of the class if there are no superclasses.
    """
    features, targets = _features(trainer, _first_samples(trainer))
    names = trainer.dataset.superclasses or trainer.dataset.classes
    groups = targets.new_tensor([[*dict.fromkeys(names)].index(name) for name in names])
    return {"feature_map": torch.from_numpy(tsne(features)), "feature_group": groups[targets]}


def tsne(features: Tensor) -> np.ndarray:
    """Embed the features of at least 3 samples in the plane, (N, 2), by t-SNE (van der Maaten and Hinton, 2008)."""
    from sklearn.manifold import TSNE  # slow to import

    perplexity = min(30, (len(features) - 1) / 3)  # scikit-learn's default is too large for few samples
    init = "pca" if features.shape[1] > 1 else "random"
    return TSNE(init=init, random_state=0, perplexity=perplexity).fit_transform(features.cpu().numpy())


@observer(_method_has("vote_logits", "takes no vote"))
def vote(trainer: Trainer) -> dict[str, Any]:
    """``vote_error``, a scalar in [0, 1]: the error of the majority vote on the test split (SBA section 3.4)."""
    votes = trainer.evaluate(trainer.dataset.test, lambda inputs: trainer.method.vote_logits(trainer.network, inputs))
    logits, targets = (torch.cat(parts) for parts in zip(*votes, strict=True))
    return {"vote_error": metrics.top_k_error(logits, targets)}


@observer(_looks_at_images, at_end=True)
def noise_detection(trainer: Trainer) -> dict[str, Any]:
    """``noise_auroc``, in [0, 1]: how well confidence tells the test split from noise (Hendrycks and Gimpel, 2017).

    The noise is Gaussian, with each channel's mean and standard deviation, clipped to the range of the pixels.
    """
    confidences = [softmax(trainer.predict(split)[0], 1).amax(1) for split in (trainer.dataset.test, _noise(trainer))]
    return {"noise_auroc": metrics.detection_auroc(*confidences)}


def _noise(trainer: Trainer) -> Split:
    dataset = trainer.dataset
    pixels = dataset.train.inputs
    low, high = (0, 255) if pixels.dtype == torch.uint8 else map(float, pixels.aminmax())
    mean, std = (statistic.cpu().view(-1, 1, 1) for statistic in (dataset.mean, dataset.std))
    draws = torch.Generator("cpu").manual_seed(0)
    noise = torch.randn(NOISE, *dataset.input_shape, generator=draws, device="cpu")
    noise = (mean + std * noise).clamp(low, high)
    noise = noise if pixels.is_floating_point() else noise.round().to(pixels.dtype)
    return Split(noise, noise.new_zeros(NOISE, dtype=torch.int64)).to(trainer.device)


def _features(trainer: Trainer, split: Split) -> tuple[Tensor, Tensor]:
    """The penultimate features (N, D) and the targets (N,)."""
    targets = torch.cat([batch.targets for batch in trainer.evaluation_batches(split)])
    return trainer.features(split), targets


def _first_samples(trainer: Trainer) -> Split:
    """The first training samples; evenly spaced ones if the samples are stored class by class."""
    train = trainer.dataset.train
    by_class = bool((train.targets.diff() >= 0).all())
    return train.select(slice(None, None, -(-len(train) // SAMPLES)) if by_class else slice(SAMPLES))
