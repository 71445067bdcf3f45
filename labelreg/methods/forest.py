"""Network as Regularization without a second network: a random forest provides the disturbance."""

import warnings
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from labelreg.data import Batch, Dataset
from labelreg.losses import check_loss, soft_cross_entropy
from labelreg.methods.base import Method, Step, check_samples
from labelreg.methods.nar import nar_targets
from labelreg.options import Count, FractionBelowOne, takes_options


def forest_error(dataset: Dataset, trees: int, seed: int = 0) -> float:
    """Error on the test split, in [0, 1], of a random forest fitted to the training split; ``trees`` is its size."""
    forest = _fitted(dataset.train.inputs, dataset.train.targets, trees, seed)
    return 1 - forest.score(_features(dataset.test.inputs), dataset.test.targets.cpu().numpy())


class ForestAsRegularization(Method):
    """Network as Regularization (NaR) with a random forest as the auxiliary, which the paper suggests as future work.

    The forest is refitted before every epoch, with more trees each time, so that its disturbance matures as that of an
    auxiliary network does. By default its prediction for a training sample is *out of bag*: it comes from the trees
    that have not seen the sample, because a forest has memorised the labels that it was fitted to. The first epoch
    collects the samples and trains on plain labels. If the data are augmented, the forest knows the last view of each
    sample. Targets are class indices, one per sample, so the method cannot learn from texts or from mixed labels. In
    evaluation mode nothing is collected, and labels are plain: the places of another split mean nothing to the forest.

    Args:
        num_classes: K.
        lam, alpha: see :func:`.nar_targets`.
        trees: number of trees added per epoch, at least 1.
        out_of_bag: whether a sample is predicted only by the trees that have not seen it.
    """

    title = "forest as regularization"
    on_tokens = False
    colour = "#96963C"
    capturable = False
    takes_probabilities = False

    @takes_options
    def __init__(
        self,
        num_classes: PositiveInt,
        lam: FractionBelowOne = 0.5,
        alpha: FractionBelowOne = 0.1,
        trees: Count = 1,
        out_of_bag: bool = True,
    ):
        super().__init__()
        # by the sample's place in the training split, (N, ...): its last view, its class, -1 for a sample that has not
        # been seen, and the forest's prediction; without rows until the first epoch has collected them
        empty = {"inputs": torch.empty(0), "targets": torch.empty(0, dtype=torch.int64), "predictions": torch.empty(0)}
        for name, value in empty.items():
            self.register_buffer(name, value, persistent=False)

    def start_epoch(self, epoch: int) -> None:
        if len(self.inputs) == 0:
            return
        seen = self.targets >= 0
        inputs, targets = self.inputs[seen], self.targets[seen]
        forest = _fitted(inputs, targets, self.trees * max(epoch, 1), epoch, self.out_of_bag)
        votes = forest.oob_decision_function_ if self.out_of_bag else forest.predict_proba(_features(inputs))
        shares = torch.zeros(len(votes), self.num_classes, device="cpu")
        shares[:, forest.classes_.astype(int)] = torch.from_numpy(votes).float()
        unknown = shares.sum(1, keepdim=True) == 0
        self.predictions = self._uniform(len(seen))
        self.predictions[seen] = torch.where(unknown, 1 / self.num_classes, shares).to(self.inputs.device)

    def step(self, network: nn.Module, batch: Batch) -> Step:
        check_samples(self, batch)
        logits, targets = network(batch.inputs), batch.targets
        check_loss(logits, targets, indices=True)
        if self.training:
            self._collect(batch)
            if len(self.predictions):
                # the logarithm of a probability is a logit of it
                forest_logits = self.predictions[batch.indices].clamp_min(torch.finfo(torch.float32).tiny).log()
                targets = nar_targets(logits, forest_logits, targets, self.lam, self.alpha)
        return Step.of(logits, {"disturbed": soft_cross_entropy(logits, targets)})

    def _collect(self, batch: Batch) -> None:
        """Keep the views of a batch; samples that are new after the first epoch are predicted uniformly in theirs."""
        inputs, targets = batch.inputs.detach(), batch.targets
        if (missing := int(batch.indices.max()) + 1 - len(self.inputs)) > 0:
            self.inputs = torch.cat([self.inputs.to(inputs), inputs.new_zeros(missing, *inputs.shape[1:])])
            self.targets = torch.cat([self.targets.to(targets), targets.new_full((missing,), -1)])
            if len(self.predictions):
                self.predictions = torch.cat([self.predictions, self._uniform(missing)])
        self.inputs[batch.indices] = inputs.to(self.inputs)
        self.targets[batch.indices] = targets

    def _uniform(self, count: int) -> Tensor:
        return torch.full((count, self.num_classes), 1 / self.num_classes, device=self.inputs.device)

    def get_extra_state(self) -> dict[str, Tensor]:
        return {"inputs": self.inputs, "targets": self.targets, "predictions": self.predictions}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            setattr(self, name, value.to(self.inputs.device, copy=True))


def _fitted(inputs: Tensor, targets: Tensor, trees: int, seed: int, out_of_bag: bool = False) -> Any:
    from sklearn.ensemble import RandomForestClassifier  # slow to import, and nobody else needs it

    forest = RandomForestClassifier(trees, oob_score=out_of_bag, random_state=seed)
    with warnings.catch_warnings():
        # a sample that every tree has seen gets no prediction: nothing is known of it
        warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
        return forest.fit(_features(inputs), targets.cpu().numpy())


def _features(inputs: Tensor) -> np.ndarray:
    return inputs.flatten(1).float().cpu().numpy()
