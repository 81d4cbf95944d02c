"""One file and many as the commands read them: `files.py VISUAL AUDIO VIDEO DEVICE` -> clips a second, as JSON.

Decoders are processes, which have to be begun before torch is loaded: so this is a program of its own.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlavl_cli.features import apart

apart.start()

from mlavl_cli.backbone import BackboneSpec  # noqa: E402
from mlavl_cli.cores import cores  # noqa: E402
from mlavl_cli.device import place  # noqa: E402
from mlavl_cli.features.audio import load_audio  # noqa: E402
from mlavl_cli.features.extract import Backbones, extract_many  # noqa: E402
from mlavl_cli.features.visual import load_visual  # noqa: E402
from mlavl_cli.media.cutting import PAPER_CUTTING  # noqa: E402

ROUNDS = 3  # the median's


def main(visual: str, audio: str, video: str, device: str) -> None:
    placement = place(device)
    backbones = Backbones(
        load_visual(BackboneSpec(visual), placement), load_audio(BackboneSpec(audio), placement), placement, {}
    )
    workers = cores()
    many = [Path(video)] * (2 * workers)

    def decoded(path: Path, at_once: int) -> list:
        picture, frames = backbones.visual.picture, backbones.visual.frames
        threads = backbones.decoding_threads(at_once)
        return list(apart.prepare_file(path, picture, frames, PAPER_CUTTING, threads))[:-1]

    def all_decoded() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda path: len(decoded(path, workers)), many))

    def extracted(files: list[Path]) -> None:
        for features in extract_many(files, backbones, workers=workers):
            assert features.clips == clips

    clips = len(decoded(many[0], 1))
    extracted(many[:2])  # the first pass pays for what is paid once
    found: dict[str, list[float]] = {"one decoded": [], "one": [], "all decoded": [], "all": []}
    steps = (lambda: decoded(many[0], 1), lambda: extracted(many[:1]), all_decoded, lambda: extracted(many))
    for _ in range(ROUNDS):
        for (name, seconds), step in zip(found.items(), steps, strict=True):
            begin = time.perf_counter()
            step()
            count = clips * (len(many) if name.startswith("all") else 1)
            seconds.append(count / (time.perf_counter() - begin))
    print(json.dumps({name: sorted(rates)[ROUNDS // 2] for name, rates in found.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
