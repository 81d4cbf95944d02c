"""The articulated body: a pose -> where its joints are in the plane of the picture."""

import numpy as np

# Of a pose, in degrees but for the last: lean forward and to the side; bend of the standing knee; free leg back,
# outward and its knee; arms up (0 hangs, 90 level) and forward (0 sideways, 90 ahead), left and right; elbows; lying.
POSE_PARTS = ("lean", "side", "knee", "back", "out", "free_knee", "up_l", "fore_l", "up_r", "fore_r", "elbow", "down")
PART = {name: i for i, name in enumerate(POSE_PARTS)}
JOINTS = "hip neck head shoulder_l elbow_l hand_l shoulder_r elbow_r hand_r knee foot free_knee free_foot".split()


def place_joints(pose: np.ndarray, yaw: np.ndarray, height: np.ndarray, leg: float) -> np.ndarray:
    """Poses and directions -> joints (F, J, 2), in body heights, from where the figure stands; y is up.

    Args:
        pose: (F, len(POSE_PARTS)).
        yaw: (F,) radians, where the body faces.
        height: (F,) above the ice, in body heights.
        leg: length of the legs; 1 is usual.
    """
    angle = {name: np.radians(pose[:, i]) for name, i in PART.items()}
    frames = len(pose)
    thigh, shin, trunk, upper, fore = 0.245 * leg, 0.245 * leg, 0.30, 0.17, 0.16

    def vector(forward: np.ndarray, left: np.ndarray, up: np.ndarray) -> np.ndarray:
        return np.stack(np.broadcast_arrays(forward, left, up), -1)

    zero = np.zeros(frames)
    bend = np.clip(angle["knee"], 0, np.radians(135))
    foot = vector(zero, zero, zero)
    knee = foot + shin * vector(np.sin(0.45 * bend), zero, np.cos(0.45 * bend))
    hip = knee + thigh * vector(-np.sin(0.55 * bend), zero, np.cos(0.55 * bend))
    lean, side = angle["lean"], angle["side"]
    spine = vector(np.sin(lean) * np.cos(side), np.sin(side), np.cos(lean) * np.cos(side))
    chest = vector(np.cos(lean), zero, -np.sin(lean))  # where the chest looks
    neck = hip + trunk * spine
    head = neck + 0.11 * spine + 0.015 * chest
    back, out, bent = angle["back"], angle["out"], angle["free_knee"]
    thigh_way = vector(-np.sin(back) * np.cos(out), np.sin(out), -np.cos(back) * np.cos(out))
    shin_way = vector(-np.sin(back + bent) * np.cos(out), np.sin(out), -np.cos(back + bent) * np.cos(out))
    free_knee = hip + thigh * thigh_way
    free_foot = free_knee + shin * shin_way

    sideways = np.array([0.0, 1.0, 0.0])
    joints = [hip, neck, head]
    for which, sign in (("l", 1), ("r", -1)):
        up, forward = angle[f"up_{which}"], angle[f"fore_{which}"]
        shoulder = neck + 0.085 * sign * sideways
        reach = np.cos(forward)[:, None] * sign * sideways + np.sin(forward)[:, None] * chest
        way = np.sin(up)[:, None] * reach - np.cos(up)[:, None] * spine
        elbow = shoulder + upper * way
        fold = np.cos(angle["elbow"])[:, None] * way + np.sin(angle["elbow"])[:, None] * chest
        joints += [shoulder, elbow, elbow + fore * fold / np.linalg.norm(fold, axis=1, keepdims=True).clip(1e-6)]
    joints += [knee, foot, free_knee, free_foot]
    body = np.stack(joints, 1)  # (F, J, 3)
    # Lying: all of it sinks to the ice.
    body[..., 2] *= 1 - 0.72 * np.clip(angle["down"] * 180 / np.pi, 0, 1)[:, None]
    across = body[..., 0] * np.cos(yaw)[:, None] - body[..., 1] * np.sin(yaw)[:, None]
    depth = body[..., 0] * np.sin(yaw)[:, None] + body[..., 1] * np.cos(yaw)[:, None]
    return np.stack([across, body[..., 2] + 0.22 * depth + height[:, None]], -1)
