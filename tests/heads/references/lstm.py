"""C3D-LSTM: one LSTM over the clips, the last step is read."""

from heads.references.layers import Weights, linear, lstm_last

NAME = "lstm"
PARAMETERS = [({"visual": 1024}, 1.313)]
CONSTANTS = ()


def state(visual=32, seed=0, width=256):
    w = Weights(seed)
    w.lstm("rnn", visual, width)
    w.linear("fc_final_score", width, 1)
    return dict(w)


def score(state, visual):
    """(B, T, D) -> (B,); padded clips count as clips, the last row is the last step."""
    return linear(state, "fc_final_score", lstm_last(state, "rnn", visual))[:, 0]
