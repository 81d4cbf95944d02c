"""Drawing of random state dicts, counting of learned values."""

import math

import torch


class Fill(dict):
    """A state dict that draws its own tensors: running_var uniform in 0.5..2, other floats normal."""

    def __init__(self, seed):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, name, *shape, std=1.0, mean=0.0):
        """One tensor of this shape."""
        self[name] = mean + std * torch.randn(shape, generator=self.generator)

    def linear(self, name, inputs, outputs, kernel=None, bias=True, gain=1.4):
        """Weight (outputs, inputs), or (outputs, inputs, kernel) of a convolution, and bias."""
        shape = (outputs, inputs) if kernel is None else (outputs, inputs, kernel)
        self.normal(f"{name}.weight", *shape, std=gain / math.sqrt(inputs * (kernel or 1)))
        if bias:
            self.normal(f"{name}.bias", outputs, std=0.3)

    def norm(self, name, width):
        """Weight and bias of a layer norm."""
        self.normal(f"{name}.weight", width, std=0.3, mean=1.0)
        self.normal(f"{name}.bias", width, std=0.3)

    def batch_norm(self, name, width):
        """Weight, bias, running statistics and counter of a batch norm."""
        self.norm(name, width)
        self.normal(f"{name}.running_mean", width, std=0.3)
        self[f"{name}.running_var"] = 0.5 + 1.5 * torch.rand(width, generator=self.generator)
        self[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def attention(self, name, width):
        """Tensors of torch.nn.MultiheadAttention."""
        self.normal(f"{name}.in_proj_weight", 3 * width, width, std=1.4 / math.sqrt(width))
        self.normal(f"{name}.in_proj_bias", 3 * width, std=0.3)
        self.linear(f"{name}.out_proj", width, width)

    def tok(self, name, inputs, width):
        """Tensors of TOK: inputs -> inputs // 2 -> width."""
        self.linear(f"{name}.0", inputs, inputs // 2, kernel=1)
        self.batch_norm(f"{name}.1", inputs // 2)
        self.linear(f"{name}.3", inputs // 2, width, kernel=1)
        self.batch_norm(f"{name}.4", width)

    def transformer(self, name, width, encoders, decoders, hidden=None):
        """Tensors of a transformer with these numbers of layers; hidden: width of the feed-forward, 3 width if None."""
        hidden = hidden or 3 * width
        for part, layers, attentions in (
            ("encoder", encoders, ("self_attn",)),
            ("decoder", decoders, ("self_attn", "multihead_attn")),
        ):
            for i in range(layers):
                layer = f"{name}{part}.layers.{i}"
                for attention in attentions:
                    self.attention(f"{layer}.{attention}", width)
                self.linear(f"{layer}.linear1", width, hidden)
                self.linear(f"{layer}.linear2", hidden, width)
                for k in range(len(attentions) + 1):
                    self.norm(f"{layer}.norm{k + 1}", width)
            if layers:
                self.norm(f"{name}{part}.norm", width)


def learned(state, constants=()):
    """Number of learned values: no running statistics, no counters, none of the named constants."""
    skip = ("running_mean", "running_var", "num_batches_tracked", *constants)
    return sum(value.numel() for name, value in state.items() if not name.endswith(skip))
