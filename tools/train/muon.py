"""Muon for the matrices between embedding and output, Adam for the rest; f32 weights beside the bf16 ones of the model.

Muon replaces a matrix's momentum by the nearest orthogonal matrix, found by five Newton-Schulz steps: with few tokens
it needs about half as many as Adam, and its product of small matrices costs 7 % of a step here.
"""

import torch

MUON_LR, ADAM_LR = 0.01, 0.004
MOMENTUM, BETAS, EPS, DECAY = 0.95, (0.9, 0.95), 1e-8, 0.01


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The stack [n, rows, columns], rows <= columns, with all singular values near 1."""
    x = matrices.bfloat16()
    x = x / (x.flatten(1).float().norm(dim=1)[:, None, None] + 1e-7).bfloat16()
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.float()


class Optimizer:
    """All state is in `state`, tensors in the order of the model's parameters."""

    def __init__(self, model: torch.nn.Module):
        self.parameters = dict(model.named_parameters())
        self.state = {"weight": {}, "first": {}, "second": {}}
        # Matrices of one shape are orthogonalised together; a tall one as its transpose.
        self.groups: dict[tuple[int, int], list[str]] = {}
        for name, parameter in self.parameters.items():
            self.state["weight"][name] = parameter.detach().float().clone()
            self.state["first"][name] = torch.zeros_like(parameter, dtype=torch.float32)
            if ".layers." in name and parameter.ndim == 2:
                self.groups.setdefault(tuple(sorted(parameter.shape)), []).append(name)
            else:
                self.state["second"][name] = torch.zeros_like(parameter, dtype=torch.float32)
        model.bfloat16()
        self.write_back()

    @torch.no_grad()
    def step(self, number: int, rate: float) -> None:
        """One update with the gradients of the model; `number` counts from 1, `rate` scales both learning rates."""
        weight, first, second = (self.state[part] for part in ("weight", "first", "second"))
        for shape, names in self.groups.items():
            updates = []
            for name in names:
                gradient = self.parameters[name].grad.float()
                first[name].lerp_(gradient, 1 - MOMENTUM)
                update = gradient.lerp(first[name], MOMENTUM)
                updates.append(update if tuple(update.shape) == shape else update.T)
            for name, update in zip(names, orthogonal(torch.stack(updates))):
                rows, columns = weight[name].shape
                update = update if tuple(update.shape) == (rows, columns) else update.T
                weight[name].mul_(1 - rate * MUON_LR * DECAY).add_(update, alpha=-rate * MUON_LR * max(1.0, rows / columns) ** 0.5)
        for name in second:
            gradient = self.parameters[name].grad.float()
            first[name].lerp_(gradient, 1 - BETAS[0])
            second[name].lerp_(gradient * gradient, 1 - BETAS[1])
            scale = (second[name] / (1 - BETAS[1] ** number)).sqrt_().add_(EPS)
            weight[name].addcdiv_(first[name] / (1 - BETAS[0] ** number), scale, value=-rate * ADAM_LR)
        self.write_back()

    @torch.no_grad()
    def write_back(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(self.state["weight"][name])
            parameter.grad = None

    def load(self, state: dict) -> None:
        for part, tensors in state.items():
            for name, tensor in tensors.items():
                self.state[part][name].copy_(tensor)
        self.write_back()
