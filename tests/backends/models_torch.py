"""Models as people write them in torch: a transformer, a residual block of convolutions, a recurrent network."""

import torch
from torch import nn

VOCABULARY, LENGTH, WIDTH, HEADS, OUTPUTS = 7, 5, 6, 2, 3


class Attention(nn.Module):
    """Softmax attention with `HEADS` heads, causal."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        q, k, v = (m(h).unflatten(-1, (HEADS, -1)).transpose(1, 2) for m in (self.query, self.key, self.value))
        scores = q @ k.mT / q.shape[-1] ** 0.5
        future = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a two-layer network, each on normalized input and added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(WIDTH), Attention(), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        h = h + self.attention(self.norm1(h))
        return h + self.down(nn.functional.gelu(self.up(self.norm2(h))))


class Transformer(nn.Module):
    """Tokens (n, LENGTH) to outputs (n, OUTPUTS): one block, the last position read out."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, WIDTH), nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.block = Block()
        self.norm, self.readout = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, OUTPUTS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.readout(self.norm(self.block(self.token(tokens) + self.position))[:, -1])


class Residual(nn.Module):
    """Images (n, 3, 6, 6) to outputs (n, OUTPUTS): a residual block with stride 2 on a first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.group = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.GroupNorm(2, 4)
        self.conv1, self.batch = nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.shortcut = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(4, 6, 1, stride=2)
        self.readout = nn.Linear(6, OUTPUTS)
        nn.init.normal_(self.batch.running_mean)
        nn.init.uniform_(self.batch.running_var, 0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu_(self.group(self.first(x)))
        h = self.conv2(torch.relu_(self.batch(self.conv1(h)))) + self.shortcut(h)
        return self.readout(torch.tanh(h).mean((2, 3)))


class Recurrent(nn.Module):
    """Sequences (n, LENGTH, 2) to outputs (n,): one cell, called at every time."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.again, self.readout = nn.Linear(2, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), WIDTH)
        for time in range(x.shape[1]):
            h = torch.tanh(self.inward(x[:, time]) + self.again(h))
        return self.readout(h)[:, 0]


def examples(model: nn.Module, n: int, seed: int) -> torch.Tensor:
    """Inputs of one of the models."""
    draw = torch.Generator().manual_seed(seed)
    if isinstance(model, Transformer):
        return torch.randint(VOCABULARY, (n, LENGTH), generator=draw)
    shape = (3, 6, 6) if isinstance(model, Residual) else (LENGTH, 2)
    return torch.randn(n, *shape, generator=draw, dtype=torch.float64)


def made(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """The model in float64 and evaluation mode, every parameter drawn (the norms' too)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind().double().eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, 0.3 if parameter.ndim == 1 else 0, 0.5)
    return model
