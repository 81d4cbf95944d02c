"""How a player turns a picture: the display matrix of its file, as the nearest of the eight ways to lay a rectangle."""

import av
import numpy as np
from av.sidedata.sidedata import Type

from mlavl_cli.media.picture import side_data

UPRIGHT = (0, False)


def orientation(picture: av.VideoFrame) -> tuple[int, bool]:
    """(quarter turns counter-clockwise, mirrored left to right before) that a decoded frame's display matrix asks for.

    `UPRIGHT` where there is no matrix, or one that shows nothing. A point (x, y) of the decoded picture, y downwards,
    is shown at (a x + c y, b x + d y).
    """
    if (listed := side_data(picture)) is None:  # then PyAV says how it is turned, and not whether it is mirrored
        return round(picture.rotation / 90) % 4, False
    data = next((one for one in listed if one.type is Type.DISPLAYMATRIX), None)
    if data is None or data.buffer_size < 36:
        return UPRIGHT
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), np.int32)[:5])
    determinant = a * d - b * c
    if determinant == 0:
        return UPRIGHT
    mirrored = determinant < 0
    if mirrored:  # what is left to do behind the mirror, in which x is -x
        a, b = -a, -b
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (0 if a + d > 0 else 2), mirrored
    return (1 if b < c else 3), mirrored
