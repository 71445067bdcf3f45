"""Network as Regularization without a second network: a random forest provides the disturbance."""

import warnings
from collections.abc import Sequence

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from labelreg.data import Batch
from labelreg.losses import check_loss, soft_cross_entropy
from labelreg.methods.base import Method, Step, check_samples
from labelreg.methods.nar import nar_targets
from labelreg.options import Count, FractionBelowOne, takes_options


class ForestAsRegularization(Method):
    """Network as Regularization (NaR) with a random forest as the auxiliary: future work of the paper.

    The forest is fitted anew before every epoch, with more trees each time, so that its disturbance matures as that of
    an auxiliary network does. Its predictions for a training sample are *out of bag*, from the trees that have not seen
    the sample: a forest knows the labels it was fitted to by heart. The first epoch collects the samples and trains on
    plain labels. Where data are augmented, the forest knows the view last seen. Targets are class indices, one for each
    sample, so that it can learn no text, and not from mixed labels.

    Args:
        num_classes: K.
        lam, alpha: see :func:`.nar_targets`.
        trees: number of trees added per epoch, at least 1.
    """

    title = "forest as regularization"
    colour = "#999933"
    capturable = False
    takes_probabilities = False

    @takes_options
    def __init__(
        self,
        num_classes: PositiveInt,
        lam: FractionBelowOne = 0.5,
        alpha: FractionBelowOne = 0.1,
        trees: Count = 1,
    ):
        super().__init__()
        # by the sample's place in the training split, (N, ...): its last view, its class, -1 for a sample that has not
        # been seen, and the forest's prediction; without rows until the first epoch has collected them
        empty = {"inputs": torch.empty(0), "targets": torch.empty(0, dtype=torch.int64), "predictions": torch.empty(0)}
        for name, value in empty.items():
            self.register_buffer(name, value, persistent=False)

    def start_epoch(self, epoch: int, history: Sequence[dict] = ()) -> None:
        if len(self.inputs) == 0:
            return
        from sklearn.ensemble import RandomForestClassifier  # slow to import, and nobody else needs it

        seen = self.targets >= 0
        forest = RandomForestClassifier(self.trees * max(epoch, 1), oob_score=True, random_state=epoch)
        with warnings.catch_warnings():
            # a sample that every tree has seen gets no prediction, which is dealt with below
            warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
            forest.fit(self.inputs[seen].flatten(1).float().cpu().numpy(), self.targets[seen].cpu().numpy())
        shares = torch.zeros(int(seen.sum()), self.num_classes, device="cpu")
        shares[:, forest.classes_.astype(int)] = torch.from_numpy(forest.oob_decision_function_).float()
        unknown = shares.sum(1, keepdim=True) == 0
        self.predictions = self._uniform(len(seen))
        self.predictions[seen] = torch.where(unknown, 1 / self.num_classes, shares).to(self.inputs.device)

    def step(self, network: nn.Module, batch: Batch) -> Step:
        check_samples(self, batch)
        logits, targets = network(batch.inputs), batch.targets
        check_loss(logits, targets, indices=True)
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
        self.inputs[batch.indices] = inputs
        self.targets[batch.indices] = targets

    def _uniform(self, count: int) -> Tensor:
        return torch.full((count, self.num_classes), 1 / self.num_classes, device=self.inputs.device)

    def get_extra_state(self) -> dict[str, Tensor]:
        return {"inputs": self.inputs, "targets": self.targets, "predictions": self.predictions}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            setattr(self, name, value.to(self.inputs.device))
