"""The parts of T2CR (t2cr.py), named as in its public code. Time is the channel of several of its convolutions."""

import torch
from torch import nn

HEADS = 8  # of the decoder
_LAYERS = 3
_RATIO = 16  # of the squeezes over channels
_TIME_RATIO = 10  # of the squeeze over clips


class _Squeeze(nn.Module):
    """Weighs channels by their means over tokens: (B, n, channels) -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        few = max(channels // _RATIO, 1)
        self.fc = nn.Sequential(
            nn.Linear(channels, few, bias=False), nn.ReLU(), nn.Linear(few, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc(x.mean(1, keepdim=True))


class _Lengthen(nn.Module):
    """As many steps as dense clips from the sparse ones; time is the convolutions' channel."""

    def __init__(self, sparse: int, clips: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(sparse, clips, 3, padding=1), nn.BatchNorm1d(clips), nn.ReLU(),
            nn.Conv1d(clips, clips, 3, padding=1), nn.BatchNorm1d(clips), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class _TimeGate(nn.Module):
    def __init__(self, clips: int):
        super().__init__()
        few = max(clips // _TIME_RATIO, 1)
        self.se = nn.Sequential(nn.Conv1d(clips, few, 1, bias=False), nn.ReLU(), nn.Conv1d(few, clips, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.se(x.amax(2, keepdim=True)) + self.se(x.mean(2, keepdim=True))).sigmoid()


class _ChannelGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.stack([x.amax(1), x.mean(1)], dim=1)).sigmoid()


class _Gates(nn.Module):
    """CBAM with time as channels: a gate over clips, then one over features, and a residual."""

    def __init__(self, clips: int):
        super().__init__()
        self.ca, self.sa = _TimeGate(clips), _ChannelGate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> the same."""
        gated = x * self.ca(x)
        return x + gated * self.sa(gated)


class Views(nn.Module):
    """Features of a dense or of a lengthened sparse view -> its tokens."""

    def __init__(self, inputs: int, width: int, clips: int, sparse: int):
        super().__init__()
        self.inconv = _Lengthen(sparse, clips)
        self.selayer, self.cbam = _Squeeze(inputs), _Gates(clips)
        self.fc1, self.fc2 = nn.Linear(inputs, width), nn.Linear(width, width // 4)
        self.fc_score = nn.Linear(width // 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, inputs) -> (B, T, width / 4)."""
        x = self.cbam(self.selayer(x))
        return self.fc2(self.fc1(x).relu()).relu()


class _Cross(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.q_map, self.k_map, self.v_map = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            one.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for one in (self.q_map(query), self.k_map(value), self.v_map(value))
        )
        found = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(found.transpose(1, 2).flatten(2))


class _Feed(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm_q, self.norm_v, self.norm2 = (nn.LayerNorm(width) for _ in range(3))
        self.attn, self.mlp = _Cross(width), _Feed(width)

    def forward(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query = query + self.attn(self.norm_q(query), self.norm_v(value))
        return query + self.mlp(self.norm2(query))


class _Separable(nn.Module):
    """Attention linear in the tokens: one context for them all."""

    def __init__(self, width: int):
        super().__init__()
        self.fc_i = nn.Linear(width, 1)
        self.fc_k, self.fc_v, self.fc_o = (nn.Linear(width, width) for _ in range(3))
        for linear in (self.fc_i, self.fc_k, self.fc_v, self.fc_o):
            nn.init.normal_(linear.weight, std=0.001)
            nn.init.zeros_(linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        context = (self.fc_i(x).softmax(1) * self.fc_k(x)).sum(1, keepdim=True)
        return self.fc_o(self.fc_v(x) * context)


class Decoder(nn.Module):
    def __init__(self, width: int, clips: int):
        super().__init__()
        self.model = nn.ModuleList(_Block(width) for _ in range(_LAYERS))
        self.sa = _Separable(width)
        self.conv1, self.conv2 = nn.Conv1d(clips, clips, 1), nn.Conv1d(clips, clips, 1)

    def forward(self, query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Tokens of both (B, n, width); n is 2 T for both views of two routines, T for the views of one."""
        clips = self.conv1.in_channels
        if query.shape[1] == clips:
            query, value = self.conv1(query), self.conv2(value)
        else:
            query, value = (
                torch.cat([self.conv1(x[:, :clips]), self.conv2(x[:, clips:])], dim=1) for x in (query, value)
            )
        query, value = query + self.sa(query), value + self.sa(value)
        for block in self.model:
            query = block(query, value)
        return query


class Regressor(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.layer1, self.layer2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.selayer, self.layer3 = _Squeeze(width), nn.Linear(width, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, n, width) -> (B,)."""
        return self.layer3(self.selayer(self.layer2(self.layer1(tokens).relu()).relu())).mean(1).squeeze(-1)
