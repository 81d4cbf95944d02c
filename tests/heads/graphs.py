"""The paper's graph with a plain edge list, one edge at a time: the reference that MAG2's closed form must equal."""

import torch


def edges(clips: int, actions: int) -> list[tuple[int, int, str]]:
    """(from, to, kind) over nodes 0..clips-1 and clips..clips+actions-1."""
    nodes_c, nodes_a = range(clips), range(clips, clips + actions)
    within = [(i, j, "within") for group in (nodes_c, nodes_a) for i in group for j in group if i != j]
    return within + [(a, c, "cross") for a in nodes_a for c in nodes_c]


def _mean(x: torch.Tensor, sources: list[int]) -> torch.Tensor:
    return torch.stack([x[i] for i in sources]).mean(0) if sources else torch.zeros_like(x[0])


def sage_layer(x, graph, weight_l, bias_l, weight_r):
    rows = []
    for node in range(len(x)):
        sources = [i for i, j, _ in graph if j == node]
        rows.append(weight_l @ _mean(x, sources) + bias_l + weight_r @ x[node])
    return torch.stack(rows)


def gcn_layer(x, graph, weight_within, bias_within, weight_cross):
    rows = []
    for node in range(len(x)):
        within, cross = ([i for i, j, k in graph if j == node and k == kind] for kind in ("within", "cross"))
        rows.append(weight_within @ _mean(x, within) + bias_within + weight_cross @ _mean(x, cross))
    return torch.stack(rows)


def even_layer(x, graph, weight_l, bias_l, weight_r, clips, log_odds):
    share, rows = log_odds.sigmoid(), []
    for node in range(len(x)):
        within, cross = ([i for i, j, k in graph if j == node and k == kind] for kind in ("within", "cross"))
        mean = _mean(x, within)
        if node < clips:
            mean = share * mean + (1 - share) * _mean(x, cross)
        rows.append(weight_l @ mean + bias_l + weight_r @ x[node])
    return torch.stack(rows)


def mag2(clips: torch.Tensor, actions: torch.Tensor, state: dict[str, torch.Tensor], graph: str) -> torch.Tensor:
    """Clips (T, d) and actions (M, d) of one routine -> clips (T, d), by a MAG2's own tensors."""
    names = {"sage": ("lin_l", "lin_r"), "gcn": ("within", "cross"), "even": ("lin_l", "lin_r")}[graph]
    layer = {"sage": sage_layer, "gcn": gcn_layer, "even": even_layer}[graph]
    x, links = torch.cat([clips, actions]), edges(len(clips), len(actions))
    for i, conv in enumerate(("conv1", "conv2")):
        tensors = [
            state[f"{conv}.{names[0]}.weight"],
            state[f"{conv}.{names[0]}.bias"],
            state[f"{conv}.{names[1]}.weight"],
        ]
        if graph == "even":
            tensors += [len(clips), state[f"{conv}.clips_against_actions"]]
        x = layer(x, links, *tensors)
        if i == 0:
            x = x.relu()
    return x[: len(clips)]
