"""Network as Regularization without a second network: a random forest provides the disturbance."""

import warnings
from collections.abc import Sequence

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from labelreg.data import Batch
from labelreg.losses import soft_cross_entropy
from labelreg.methods.base import Method, Step
from labelreg.methods.nar import nar_targets
from labelreg.options import FractionBelowOne, takes_options


class ForestAsRegularization(Method):
    """Network as Regularization (NaR) with a random forest as the auxiliary: future work of the paper.

    The forest is fitted anew before every epoch, with more trees each time, so that its disturbance matures as that of
    an auxiliary network does. Its predictions for a training sample are *out of bag*, from the trees that have not seen
    the sample: a forest knows the labels it was fitted to by heart. The first epoch collects the samples and trains on
    plain labels. Where data are augmented, the forest knows the view last seen.

    Args:
        num_classes: K.
        lam, alpha: see :func:`.nar_targets`.
        trees: number of trees added per epoch, at least 1.
    """

    title = "forest as regularization"
    on_tokens = False
    colour = "#999933"
    capturable = False

    @takes_options
    def __init__(
        self,
        num_classes: PositiveInt,
        lam: FractionBelowOne = 0.5,
        alpha: FractionBelowOne = 0.1,
        trees: PositiveInt = 1,
    ):
        super().__init__()
        # indexed by the sample's place in the training split, (N, ...); empty until the first epoch has collected them
        self.inputs, self.targets, self.predictions = (torch.empty(0) for _ in range(3))

    def start_epoch(self, epoch: int, history: Sequence[dict] = ()) -> None:
        if len(self.inputs):
            from sklearn.ensemble import RandomForestClassifier  # slow to import, and nobody else needs it

            forest = RandomForestClassifier(self.trees * max(epoch, 1), oob_score=True, random_state=epoch)
            with warnings.catch_warnings():
                # a sample that every tree has seen gets no prediction, which is dealt with below
                warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
                forest.fit(self.inputs.flatten(1).cpu().numpy(), self.targets.cpu().numpy())
            shares = torch.zeros(len(self.inputs), self.num_classes)
            shares[:, forest.classes_.astype(int)] = torch.from_numpy(forest.oob_decision_function_).float()
            unknown = shares.sum(1, keepdim=True) == 0
            self.predictions = torch.where(unknown, 1 / self.num_classes, shares).to(self.inputs.device)

    def step(self, network: nn.Module, batch: Batch) -> Step:
        logits, targets = network(batch.inputs), batch.targets
        if len(self.predictions):
            # the logarithm of a probability is a logit of it
            forest_logits = self.predictions[batch.indices].clamp_min(torch.finfo(torch.float32).tiny).log()
            targets = nar_targets(logits, forest_logits, targets, self.lam, self.alpha)
        self._collect(batch)
        return Step.of(logits, {"disturbed": soft_cross_entropy(logits, targets)})

    def _collect(self, batch: Batch) -> None:
        if not len(self.predictions):  # the first epoch: after it, all samples have a place
            missing = max(0, int(batch.indices.max()) + 1 - len(self.inputs))
            inputs, targets = batch.inputs, batch.targets
            self.inputs = torch.cat([self.inputs.to(inputs), inputs.new_zeros(missing, *inputs.shape[1:])])
            self.targets = torch.cat([self.targets.to(targets), targets.new_zeros(missing)])
        self.inputs[batch.indices] = batch.inputs
        self.targets[batch.indices] = batch.targets

    def get_extra_state(self) -> dict[str, Tensor]:
        return {"inputs": self.inputs, "targets": self.targets, "predictions": self.predictions}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
