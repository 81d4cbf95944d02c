"""Strangers' files on shared machines: they stay where they are, ask for no more than they hold, and end no run."""

import io
import json
import os
import pickle
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from bombs import matroska, mov
from conftest import make_video
from datasets import layouts
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from mlavl_cli import files, leftovers
from mlavl_cli.backbone import model_files
from mlavl_cli.bundle import find_bundle, read_bundle
from mlavl_cli.datasets.load import load_dataset
from mlavl_cli.device import place
from mlavl_cli.errors import DataError, FeatureError, MediaError, WeightsError
from mlavl_cli.features.routine import RoutineFeatures
from mlavl_cli.features.store import read_features, write_features
from mlavl_cli.features.text_features import TextFeatures, interleaved
from mlavl_cli.features.throughput import peak_memory_mb
from mlavl_cli.files import atomic_write, csv_text, one_at_a_time
from mlavl_cli.heads.checkpoint import load_head
from mlavl_cli.heads.dims import HeadDims
from mlavl_cli.heads.layers import lean_attention
from mlavl_cli.heads.mlavl.model import MLAVL
from mlavl_cli.heads.mlavl.official import import_official
from mlavl_cli.media import streams
from mlavl_cli.media.container import Media
from mlavl_cli.media.crop import Crop
from mlavl_cli.media.decode import VideoInfo, VideoReader
from mlavl_cli.media.limits import excess
from mlavl_cli.media.picture import PictureMaker, PictureSpec
from mlavl_cli.output.report.index import read_index
from mlavl_cli.pickles import check_pickle
from mlavl_cli.scoring.domain import load_detector
from mlavl_cli.untrusted import open_safetensors, plain_name, read_npy, read_torch


@pytest.fixture
def bundle(tmp_path):
    """A copy of the embedded weights, as one downloads a stranger's."""
    folder = tmp_path / "bundle"
    subprocess.run(["cp", "-r", find_bundle("mini").folder, folder], check=True)
    return folder


def changed(bundle, **fields):
    path = bundle / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return bundle


# --- A bundle stays in its folder ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "id", ["/etc", "../x", "a/../b", "./here", "a//b", "~/x", "a/b/c", "", "C:\\x", "a\nb", "\ud800"]
)
def test_a_backbone_is_a_hub_id_or_a_folder_of_its_bundle(bundle, id):
    with pytest.raises(WeightsError):
        read_bundle(changed(bundle, visual={"id": id}))


def test_a_hub_id_never_means_a_folder_here(bundle, tmp_path, monkeypatch, run):
    """The hub's library would read it, outside of what the identity says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "model").mkdir(parents=True)
    changed(bundle, visual={"id": "some/model"})
    assert read_bundle(bundle).visual.folder is None
    result = run("score", find_bundle("mini").folder.parent / "demo.mp4", "--weights", bundle)
    assert result.exit_code == 1
    assert "a file or folder here is called so" in result.errors[0]


@pytest.mark.parametrize("link", ["backbones/visual/config.json", "backbones/visual", "bundle.json"])
def test_links_in_a_bundle_are_refused(bundle, tmp_path, link):
    real = bundle / link
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match=r"is a link|lies outside"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "part", ["../../secret.safetensors", "/etc/passwd", "sub/part.safetensors", "missing.safetensors"]
)
def test_an_index_of_parts_names_only_files_beside_it(bundle, part):
    folder = bundle / "backbones" / "visual"
    (folder / "sub").mkdir()
    (folder / "sub" / "part.safetensors").touch()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": part}}))
    with pytest.raises(WeightsError, match="isn't in its folder"):
        model_files(folder)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", ".hidden", "", " x", "a\x1b[31m", "n" * 200, "C:x"])
def test_names_are_checked_before_they_become_paths(bundle, name, run, tmp_path):
    with pytest.raises(DataError):
        plain_name(name, "a target")
    heads = json.loads((bundle / "bundle.json").read_text())["heads"]
    with pytest.raises(WeightsError):
        read_bundle(changed(bundle, heads={name: next(iter(heads.values()))}))
    csv = tmp_path / "m.csv"
    csv.write_text(f'path,split,"{name}"\na.mp4,train,1\n')
    assert run("train", "manifest", csv, "-o", tmp_path / "out").exit_code == 1
    assert not (tmp_path / "out").exists()


def test_nothing_outside_is_opened_while_a_foreign_bundle_is_loaded(bundle, tmp_path):
    """Every file that Python opens while a bundle scores: the bundle, the video, the output, caches, and libraries."""
    video = make_video(tmp_path / "v.mp4", 40)
    script = tmp_path / "watch.py"
    script.write_text(
        "import sys, json\nopened = set()\n"
        "sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == 'open' else None)\n"
        "sys.argv = ['mlavl', *sys.argv[1:]]\n"
        "from mlavl_cli.cli.app import main\n"
        "try:\n    main()\nfinally:\n    print(json.dumps(sorted(opened)), file=sys.stderr)\n"
    )
    secret = tmp_path / "secret"
    secret.mkdir()
    done = subprocess.run(
        [sys.executable, script, "score", video, "--weights", bundle, "-f", "csv", "-q"],
        capture_output=True, text=True, cwd=secret, timeout=300, check=True,
    )  # fmt: skip
    opened = json.loads(done.stderr.splitlines()[-1])
    mine = [path for path in opened if path.startswith(str(tmp_path)) and not path.startswith(str(bundle))]
    assert {Path(path) for path in mine} <= {video, script}
    system = (sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/usr", "/lib", "/etc", "/tmp", "/var")
    roots = (*system, str(tmp_path), str(Path(__file__).parent.parent), str(Path.home()))
    assert [path for path in opened if path.startswith("/") and not path.startswith(roots)] == []


# --- Bounded memory and time -----------------------------------------------------------------------------------------


def test_what_claims_more_than_it_holds_is_refused_in_little_memory(tmp_path):
    """Each is one line, in a process that may take 600 MB more than the good video beside it takes."""
    bombs = [
        mov(tmp_path / "samples.mov", 60_000, 1000),
        mov(tmp_path / "again.mov", 100_000, 4),
        matroska(tmp_path / "stripped.mkv", 400_000, 5000),
        mov(tmp_path / "giant.mov", 2, 1, 20_000, 20_000),
        mov(tmp_path / "many.mov", 2, 1, 5000, 5000, tracks=40),
        mov(tmp_path / "edits.mov", 900, 1000, edits=2000),
        mov(tmp_path / "packed.mov", 60_000, 1000, packed=True),
        mov(tmp_path / "unpacked.mov", 2, 1, packed=True, padding=300 << 20),
        mov(tmp_path / "loose.mov", 1, 85_000_000, frame=b"\0", loose=True, claimed=True),
        matroska(tmp_path / "laced.mkv", 1, 60_000, laced=True),
        matroska(tmp_path / "tracks.mkv", 0, 10, tracks=17),
        matroska(tmp_path / "tags.mkv", 0, 10, tags=60_000),
        matroska(tmp_path / "chapters.mkv", 0, 10, chapters=60_000),
        make_video(tmp_path / "thin.mkv", 4, size=(2, 6000), codec="ffv1", pixels="gray"),
    ]
    sparse = mov(tmp_path / "sparse.mov", 1, 25_000_000, frame=b"\0", claimed=True)
    with sparse.open("r+b") as file:
        file.truncate(90 << 20)
    behind = tmp_path / "behind.mov"
    behind.write_bytes(bytes.fromhex("0000000866726565") * 100_001 + (tmp_path / "samples.mov").read_bytes())
    bombs += [sparse, behind]
    late = tmp_path / "late.mov"
    late.write_bytes(bytes.fromhex("00000018") + b"uuid" + bytes(16) + (tmp_path / "samples.mov").read_bytes())
    bombs.append(late)
    assert max(path.stat().st_size for path in bombs if path != sparse) < 4_000_000
    good = make_video(tmp_path / "good.mp4", 40)
    peaks = {}
    for name, paths in {"good": [good], "bombs": [*bombs, good]}.items():
        code = (
            "import sys\nfrom pathlib import Path\nfrom mlavl_cli.media.clips import ClipReader\n"
            "from mlavl_cli.media.picture import PictureSpec\nfrom mlavl_cli.errors import MediaError\n"
            "for path in sys.argv[1:]:\n    try:\n"
            "        with ClipReader(Path(path), PictureSpec((64, 64), 64), 1) as clips:\n"
            "            print('clips', len(list(clips)))\n"
            "    except MediaError as error:\n        print('error', error)\n"
            "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])\n"
        )
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code, *paths], capture_output=True, text=True, timeout=120, check=True
        )
        *lines, peak = done.stdout.splitlines()
        peaks[name] = int(peak) / 1024
        assert lines[-1] == "clips 1"
        assert all(line.startswith("error") for line in lines[:-1]), lines
        assert time.monotonic() - begin < 60
    assert peaks["bombs"] - peaks["good"] < 600


@pytest.mark.parametrize("aspect", [(255, 1), (65535, 1), (1, 65535), (2**31 - 1, 1), (1, 2**31 - 1)])
def test_absurd_pixels_are_taken_as_square(tmp_path, aspect):
    path = mov(tmp_path / "v.mov", 40, 1, 64, 64, aspect=aspect)
    with Media(path) as media:
        reader = VideoReader(media)
        assert sum(1 for _ in reader.frames()) == 40
        assert (reader.info.width_px, reader.info.height_px) == (64, 64)
        assert reader.pixel_aspect == 1


@pytest.mark.parametrize("value", [2**31 - 1, -(2**31), 1])
def test_absurd_matrices_are_no_matrices(tmp_path, value):
    path = mov(tmp_path / "v.mov", 33, 1, 64, 64, matrix=struct.pack(">9i", *[value] * 9))
    with Media(path) as media:
        assert sum(1 for _ in VideoReader(media).frames()) == 33


def test_larger_pictures_are_read_where_they_are_asked_for(tmp_path):
    path = mov(tmp_path / "v.mov", 1, 1, 9000, 9000)
    with pytest.raises(MediaError), Media(path) as media:
        list(VideoReader(media).frames())
    code = "import sys; from pathlib import Path; from mlavl_cli.media.container import Media\n"
    code += "from mlavl_cli.media.decode import VideoReader\n"
    code += "print(len(list(VideoReader(Media(Path(sys.argv[1]))).frames())))"
    environment = {**os.environ, "MLAVL_MAX_MEGAPIXELS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.stdout.strip() == "1", done.stderr


def test_many_gaps_in_a_sound_of_an_odd_rate_cost_no_more_than_the_sound(tmp_path, monkeypatch):
    import soxr

    made, real = [], soxr.ResampleStream
    monkeypatch.setattr(soxr, "ResampleStream", lambda *args: made.append(args) or real(*args))
    from mlavl_cli.media.sound import SoundReader

    samples = np.zeros(44_103, np.float32)
    path = make_video(tmp_path / "a.mkv", 40, sound=samples, rate=44_103, audio_codec="pcm_s16le")
    import av

    gaps = tmp_path / "gaps.mkv"
    with av.open(str(path)) as old, av.open(str(gaps), "w") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        count = 0
        for packet in old.demux():
            if packet.dts is not None:
                if packet.stream.type == "audio":
                    count += 1
                    packet.pts = packet.dts = packet.pts + 100 * count
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    with Media(gaps) as media:
        SoundReader(media).read(0, 6)
    assert count > 40
    assert len(made) == 1


# --- Labels and checkpoints ------------------------------------------------------------------------------------------


def shared(make, depth=40):
    value = make(1.0, 1.0)
    for _ in range(depth):
        value = make(value, value)
    return pickle.dumps(value)


@pytest.mark.parametrize("make", [lambda a, b: [a, b], lambda a, b: (a, b), lambda a, b: {"a": a, "b": b}])
def test_a_pickle_without_end_is_refused(make):
    data = shared(make)
    with pytest.raises(pickle.UnpicklingError, match="without end"):
        check_pickle(io.BytesIO(data), len(data))


def test_a_pickle_that_copies_or_compares_without_end_is_refused():
    text = "x" * 300_000
    many = pickle.dumps([text] * 20_000, 2)
    colliding = pickle.dumps({(2**61 - 1) * i: None for i in range(1, 100)}, 2)
    for data in (many, colliding):
        with pytest.raises(pickle.UnpicklingError):
            check_pickle(io.BytesIO(data), len(data))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**59), 2**59) | st.floats(-1e17, 1e17) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_honest_pickles_pass(value, protocol):
    data = pickle.dumps(value, protocol)
    check_pickle(io.BytesIO(data), len(data))


def test_honest_labels_pass():
    arrays = {f"id{i}": np.ones((9, 8), np.float32) for i in range(50)}
    for protocol in range(6):
        for value in (arrays, [("event", i) for i in range(99)], {("e", "1"): [1.0, 2.0]}, {"a", "b"}, 1 + 2j):
            data = pickle.dumps(value, protocol)
            check_pickle(io.BytesIO(data), len(data))


def test_a_checkpoint_holds_what_it_claims(tmp_path):
    path = tmp_path / "x.pkl"
    for bad in (
        {"a": torch.zeros(1).as_strided((300_000, 100_000), (0, 0))},
        {"a": torch.empty(10**9, device="meta")},
        {"a": torch.zeros(4).to_sparse()},
    ):
        torch.save(bad, path)
        with pytest.raises(Exception):  # noqa: B017 - torch refuses some by itself
            read_torch(path)
    for good in ({"a": torch.zeros(3, 4), "n": torch.tensor(3), "epoch": 7}, torch.zeros(5, 6).T):
        for new in (True, False):
            torch.save(good, path, _use_new_zipfile_serialization=new)
            read_torch(path)


SHARED = b"\x80\x02]q\x00" + b"".join(b"]q%c(h%ch%ce" % (i + 1, i, i) for i in range(60)) + b"."


def archive(path, name, data):
    """A checkpoint in torch's format, whose pickle is `data` under this name."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"a/{name}", data)
        file.writestr("a/version", b"3\n")


@pytest.mark.parametrize("name", ["data.pkl", "Data.pkl", "DATA.PKL"])
@pytest.mark.parametrize(
    "data",
    [
        SHARED,
        b"\x80\x02}" + b")" + b"\x85" * 1000 + b"K\x01s.",  # a tuple in a tuple, as a key: hashed by recursion
        b"\x80\x02cbuiltins\nbytearray\nJ\x10\x00\x00\x00\x85R.",
        b"\x80\x04\x8c\x08builtins\x8c\tbytearray\x93K\x10\x85R.",
    ],
    ids=["shared", "deep", "room", "room by its parts"],
)
def test_pickles_of_checkpoints_are_weighed_wherever_they_stand(tmp_path, name, data):
    archive(tmp_path / "x.pkl", name, data)
    with pytest.raises(pickle.UnpicklingError):
        read_torch(tmp_path / "x.pkl")


def test_a_checkpoint_is_of_the_format_by_which_torch_reads_it(tmp_path):
    """Not of that which its end suggests."""
    path = tmp_path / "x.pkl"
    torch.save({"a": 1}, path, _use_new_zipfile_serialization=False)
    assert read_torch(path) == {"a": 1}
    heads = path.read_bytes()
    archive(tmp_path / "y.zip", "z", b"")
    at = heads.index(pickle.dumps({"a": 1}, 2))
    path.write_bytes(heads[:at] + SHARED + (tmp_path / "y.zip").read_bytes())
    assert zipfile.is_zipfile(path)
    with pytest.raises(pickle.UnpicklingError, match="again and again"):
        read_torch(path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pth"])
def test_pickles_in_a_bundle_are_weighed_before_a_library_reads_them(bundle, run, tmp_path, routine, name):
    archive(bundle / "backbones" / "visual" / name, "data.pkl", SHARED)
    result = run("extract-features", routine, "-o", tmp_path / "s", "--backbones", bundle)
    assert result.exit_code == 1
    assert "can't be read as weights of torch" in result.errors[0]


@pytest.mark.parametrize("what", ["heads/TES.safetensors", "domain.safetensors", "store", "index"])
def test_headers_out_of_proportion_are_refused(bundle, run, tmp_path, routine, what):
    from safetensors.numpy import save_file

    lists = "[" + "[]," * 2_000_000 + "[]]"
    if what == "index":
        (bundle / "backbones" / "visual" / "model.safetensors.index.json").write_text('{"weight_map": {"a": ' + lists)
        result = run("score", routine, "--weights", bundle)
        assert "far too large for an index" in result.errors[0]
        return
    path = tmp_path / "routine.mp4.safetensors" if what == "store" else bundle / what
    save_file({"visual": np.ones((1, 2), np.float32)}, path, {"mlavl": lists})
    with pytest.raises((ValueError, WeightsError, FeatureError)):
        open_safetensors(path, "np") if what != "store" else read_features(path)
    if what != "store":
        assert run("score", routine, "--weights", bundle).exit_code == 1


def test_a_compressed_checkpoint_is_refused(tmp_path):
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "a.pkl")
    with (
        zipfile.ZipFile(tmp_path / "a.pkl") as old,
        zipfile.ZipFile(tmp_path / "b.pkl", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(pickle.UnpicklingError, match="compressed"):
        read_torch(tmp_path / "b.pkl")


def test_an_array_that_claims_more_than_its_file_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))
    assert read_npy(tmp_path / "a.npy").shape == (3, 4)
    data = (tmp_path / "a.npy").read_bytes().replace(b"(3, 4), ", b"(9**9,),"[:8])
    (tmp_path / "b.npy").write_bytes(data.replace(b"(9**9,),", b"(99999,)"))
    with pytest.raises(ValueError):
        read_npy(tmp_path / "b.npy")
    with (tmp_path / "c.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"shape": (1 << 32, 1 << 32, 2), "descr": "<f4", "fortran_order": False}
        )
    with pytest.raises(ValueError):  # and no warning of a library's
        read_npy(tmp_path / "c.npy")


@pytest.mark.parametrize("height", [1080, 2160, 4320])
def test_pictures_of_every_usual_size_are_read(tmp_path, height):
    path = mov(tmp_path / "v.mov", 2, 1, height * 16 // 9, height)
    with Media(path) as media:
        assert [frame.picture.height for frame in VideoReader(media).frames()] == [height] * 2


def test_an_honest_packed_header_is_read(tmp_path):
    path = mov(tmp_path / "v.mov", 33, 1, 64, 64, packed=True)
    assert excess(path) is None
    with Media(path) as media:
        assert sum(1 for _ in VideoReader(media).frames()) == 33


def test_many_silent_tracks_are_not_listened_to_without_end(tmp_path, monkeypatch):
    path = make_video(tmp_path / "v.mkv", 40, sound=np.zeros(25_600, np.float32))
    with Media(path) as media:
        sounds = list(media.container.streams.audio) * 100
        monkeypatch.setattr(streams, "_MOST_SAMPLES", 40_000)
        begun = []
        monkeypatch.setattr(streams, "Media", lambda path: begun.append(path) or Media(path))
        assert streams._first_to_be_heard(media, sounds) is None
    assert len(begun) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image_size": 1_000_000}, "its configuration says image_size"),
        ({"num_frames": 200_000}, "its configuration says num_frames"),
        ({"patch_size": 1, "image_size": 224, "num_frames": 8}, "cuts a clip into 401,408 patches"),
        ({"attn_implementation": "someone/kernel"}, "takes code from 'someone/kernel'"),
        ({"attn_implementation": "flash_attention_2"}, "takes code from 'flash_attention_2'"),
        ({"quantization_config": {"quant_method": "eetq"}}, "asks for quantised weights"),
        ({"hidden_size": 10**400}, "holds a number of 401 digits"),
        ({"num_labels": 4_000_000}, "has 4e+06 labels"),
        ({"pred_num_hidden_layers": 100_000}, "says 100000 layers"),
        (
            {"attention_type": "joint_space_time", "num_frames": 80, "image_size": 224, "patch_size": 8},
            "compares all patches at once",
        ),
        ({"transformers_weights": "sub/x.safetensors"}, "leads to other files"),
        ({"time_stride": 10**6, "patch_size": 1, "image_size": 1024, "num_frames": 8}, "patches"),  # of another kind
        ({"vocab_size": [[1]]}, "its configuration can't be used"),
    ],
)
def test_a_backbone_whose_settings_are_absurd_is_refused(bundle, run, tmp_path, fields, said):
    config = bundle / "backbones" / "visual" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **fields}))
    result = run("extract-features", make_video(tmp_path / "v.mp4", 34), "-o", tmp_path / "s", "--backbones", bundle)
    assert result.exit_code == 1
    assert said in result.errors[0]


def test_an_index_of_parts_in_a_subfolder_is_refused(bundle):
    """The library doesn't look where the parts of such an index lie."""
    sub = bundle / "backbones" / "visual" / "sub"
    sub.mkdir()
    (sub / "x.safetensors.index.json").write_text('{"weight_map": {"a": "/elsewhere/private.safetensors"}}')
    with pytest.raises(WeightsError, match="in a subfolder"):
        model_files(sub.parent)


def test_a_header_out_of_proportion_in_a_backbone_is_refused(bundle, run, routine):
    path = bundle / "backbones" / "visual" / "more.safetensors"
    path.write_bytes((100 << 20).to_bytes(8, "little") + b"{}")
    result = run("score", routine, "--weights", bundle)
    assert result.exit_code == 1
    assert "can't be read as safetensors" in result.errors[0]


@pytest.mark.parametrize("fields", [{"grades": 10_000}, {"actions": 60_000}, {"visual_dim": 65_536}])
def test_a_head_larger_than_any_sport_is_refused(fields):
    with pytest.raises(WeightsError):
        HeadDims(**{"visual_dim": 96, "actions": 6} | fields)


def test_a_checkpoint_that_states_each_size_by_one_side_takes_no_memory(tmp_path):
    """Its head would take gigabytes."""
    names = ("proj_visual.0.weight", "proj_audio.0.weight", "proj_text.0.weight")
    state = {name: torch.zeros(1, 8192, 1) for name in names}
    state |= {"proj_visual.3.weight": torch.zeros(8192, 1), "regressor_V.weight": torch.zeros(6, 1)}
    torch.save(state, tmp_path / "d.pkl")
    before = peak_memory_mb()
    with pytest.raises(WeightsError):
        import_official(tmp_path / "d.pkl", torch.zeros(2 * 5 + 18, 8192))
    assert peak_memory_mb() - before < 200


@pytest.mark.parametrize("key", [lambda i: (i, 1), lambda i: i + 0.5])
def test_keys_that_can_be_made_to_collide_are_few(key):
    """Of each tuple or fraction the hash can be chosen: a dict of many would never be built."""
    for count, fits in ((1000, True), (20_000, False)):
        data = pickle.dumps({key(i): i for i in range(count)})
        if fits:
            check_pickle(io.BytesIO(data), len(data))
        else:
            with pytest.raises(pickle.UnpicklingError, match="keys"):
                check_pickle(io.BytesIO(data), len(data))
    data = pickle.dumps({"scores": dict.fromkeys(range(50_000), 1.5)})
    check_pickle(io.BytesIO(data), len(data))


def test_an_adapter_that_names_another_model_is_refused(bundle, run, tmp_path):
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "/etc"}
    (bundle / "backbones" / "visual" / "adapter_config.json").write_text(json.dumps(adapter))
    result = run("extract-features", make_video(tmp_path / "v.mp4", 34), "-o", tmp_path / "s", "--backbones", bundle)
    assert result.exit_code == 1
    assert "is an adapter" in result.errors[0]


# --- One bad thing never ends a run ----------------------------------------------------------------------------------


def test_a_store_that_cannot_be_written_costs_no_score(run, tmp_path, routine):
    store = tmp_path / "store"
    store.mkdir()
    (store / "routine.mp4.safetensors").mkdir()  # root may write everywhere, but not over a folder
    result = run("score", routine, make_video(tmp_path / "b.mp4", 34), "--features", store, "-f", "jsonl")
    assert len(result.stdout.splitlines()) == 2
    assert result.exit_code == 1
    (line,) = result.errors
    assert "routine.mp4.safetensors: can't be written" in line
    assert run("extract-features", routine, "-o", store).exit_code == 1


def test_a_store_entry_of_deep_json_is_made_again(run, tmp_path, routine):
    from safetensors.numpy import save_file

    store = tmp_path / "store"
    store.mkdir()
    save_file({"visual": np.zeros((1, 2), np.float32)}, store / "routine.mp4.safetensors", {"mlavl": "[" * 100_000})
    assert run("score", routine, "--features", store, "-f", "csv").exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        {"visual": np.ones((1, 2), np.int64)},
        {"start_s": np.zeros(1, np.float32)},
        {"visual": np.ones((1, 2), np.float16)},
        {"duration_s": 1e308},
        {"fps": -1.0},
    ],
)
def test_a_store_entry_of_other_kinds_is_no_entry(tmp_path, change):
    good = RoutineFeatures(
        np.ones((1, 2), np.float32), None, np.zeros(1), np.ones(1), VideoInfo("v.mp4", 1.0, 25.0, 64, 64, False)
    )
    write_features(tmp_path / "good.safetensors", good)
    assert read_features(tmp_path / "good.safetensors").clips == 1
    about = {name: value for name, value in change.items() if not isinstance(value, np.ndarray)}
    arrays = {name: value for name, value in change.items() if isinstance(value, np.ndarray)}
    bad = replace(good, video=replace(good.video, **about))
    for name, rows in arrays.items():
        object.__setattr__(bad, name, rows)  # which it would have made floats of
    write_features(tmp_path / "bad.safetensors", bad)
    with pytest.raises(FeatureError):
        read_features(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "trouble", ["lock is a link", "lock is a folder", "index is a folder", "index is deep", "index lies"]
)
def test_a_report_folder_in_trouble_costs_no_score(run, tmp_path, routine, trouble):
    pages, precious = tmp_path / "pages", tmp_path / "precious"
    pages.mkdir()
    precious.write_text("keep me")
    if trouble == "lock is a link":
        (pages / ".index.lock").symlink_to(precious)
    elif trouble == "lock is a folder":
        (pages / ".index.lock").mkdir()
    elif trouble == "index is a folder":
        (pages / "index.html").mkdir()
    else:
        inside = "[" * 100_000 if trouble == "index is deep" else json.dumps({"routines": [{"page": 7}, 3]})
        (pages / "index.html").write_text(f'<script type="application/json" id="data">{inside}</script>')
    result = run("score", routine, "-f", "jsonl", "--report", pages)
    assert len(result.stdout.splitlines()) == 1
    assert (pages / "routine.mp4.html").is_file()
    assert precious.read_text() == "keep me"
    assert "internal error" not in result.stderr
    assert result.exit_code == (1 if trouble == "index is a folder" else 0)


def test_pipes_in_the_place_of_files_are_not_waited_for(bundle, run, tmp_path, routine):
    store, pages = tmp_path / "store", tmp_path / "pages"
    for path in (store / "routine.mp4.safetensors", pages / "index.html", pages / "routine.mp4.html"):
        path.parent.mkdir(exist_ok=True)
        os.mkfifo(path)
    result = run("score", routine, "--features", store, "-f", "csv")
    assert len(result.stdout.splitlines()) == 2
    result = run("score", routine, "--report", pages, "-f", "csv")
    assert len(result.stdout.splitlines()) == 2
    for name in ("heads/TES.safetensors", "domain.safetensors", "bundle.json"):
        (bundle / name).unlink()
        os.mkfifo(bundle / name)
        assert run("score", routine, "--weights", bundle).exit_code == 1


def test_a_link_in_a_store_or_a_report_is_not_followed(run, tmp_path, routine):
    """Another user of a shared folder may have put it there."""
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    for folder, name, option in (("s", "routine.mp4.safetensors", "--features"), ("p", "routine.mp4.html", "--report")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).symlink_to(precious)
        assert run("score", routine, option, tmp_path / folder, "-f", "csv").exit_code == 0
        assert not (tmp_path / folder / name).is_symlink()
    assert precious.read_text() == "keep me"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_end_comes_though_a_library_takes_no_notice(tmp_path, name):
    """The main thread is in a library's loop, as FFmpeg's may be; what was computed is put away all the same."""
    code = (
        "import hashlib, pathlib, sys\nfrom mlavl_cli.cli import ending\nending._LAST_S = 1\n"
        "ending.watch_for_the_end()\n"
        "ending.before_the_end(lambda: pathlib.Path(sys.argv[1]).write_text('kept'))\nprint('ready', flush=True)\n"
        "hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2_000_000_000)\n"
    )
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - what a shell's children begin with
    command = [sys.executable, "-c", code, tmp_path / "kept"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=heed) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(1)  # until it is in there
        process.send_signal(getattr(signal, name))
        try:
            assert process.wait(timeout=60) == 130
        finally:
            process.kill()
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_sound_that_changes_its_rate_without_end_is_left(tmp_path, monkeypatch):
    from mlavl_cli.media import sound

    made = []
    real = sound.soxr.ResampleStream
    monkeypatch.setattr(sound.soxr, "ResampleStream", lambda *args: made.append(args) or real(*args))
    monkeypatch.setattr(sound, "_MOST_DESIGNS", 3)
    with (tmp_path / "v.mp3").open("wb") as file:
        for rate in (48_000, 44_100, 32_000, 24_000, 22_050):
            part = tmp_path / f"{rate}.mp3"
            with av.open(part, "w") as out:
                stream = out.add_stream("mp3", rate=rate, layout="mono")
                frame = av.AudioFrame.from_ndarray(np.full((1, rate), 0.1, np.float32), "fltp", "mono")
                frame.rate = rate
                out.mux([*stream.encode(frame), *stream.encode(None)])
            file.write(part.read_bytes())
    with Media(tmp_path / "v.mp3") as media:
        reader = sound.SoundReader(media)
        reader.read(0.0, 5.0)
        assert "the sound changes its rate 3 times; the rest isn't heard" in reader.warnings
    assert len(made) == 3


@pytest.mark.parametrize(
    ("transfers", "primaries", "converted"),
    [((16, 18), (9, 9), [True] * 4), ((18, 1), (9, 1), [True, False] * 2), ((1, 1), (9, 1), [True, False] * 2)],
)
def test_colours_that_change_without_end_are_taken_as_they_are(transfers, primaries, converted):
    """Each change makes libswscale build tables, for seconds; back to usual ones is one, too."""
    maker = PictureMaker(PictureSpec((32, 32)))
    asked = []
    for number in range(20):
        frame = av.VideoFrame(64, 64, "yuv420p")
        frame.color_trc, frame.color_primaries = transfers[number % 2], primaries[number % 2]
        asked.append(bool(maker._to_standard_range(frame)))
    assert asked == converted + [False] * 16


def test_gaps_of_years_are_one_line_and_cost_no_page(tmp_path, run):
    times = [i / 25 for i in range(40)]
    times += [3e6 * k + i / 25 for k in range(1, 4) for i in range(40)]
    path = make_video(tmp_path / "v.mkv", 160, times_s=times)
    result = run("score", path, "-f", "json", "--report", tmp_path / "pages", "--frame-rate", "native")
    assert sum("a gap in the timestamps" in text for text in result.json()["warnings"]) == 1
    assert (tmp_path / "pages" / "v.mkv.html").stat().st_size < 2_000_000


@pytest.mark.parametrize("crop", [Crop(left=200, right=149), Crop(top=50, bottom=49)])
def test_a_crop_that_leaves_nothing_to_see_is_none(crop):
    assert not crop.fits(350, 100)
    assert Crop(left=150, right=100).fits(350, 100)


def test_a_linked_folder_in_a_store_or_a_report_is_not_followed(run, tmp_path, routine):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "v.mp4").write_bytes(routine.read_bytes())
    (tmp_path / "precious").mkdir()
    for folder, option in (("s", "--features"), ("p", "--report")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sub").symlink_to(tmp_path / "precious")
        result = run("score", tmp_path / "in", option, tmp_path / folder, "-f", "csv")
        assert len(result.stdout.splitlines()) == 2
        assert "a link leads out of" in result.errors[0]
    assert list((tmp_path / "precious").iterdir()) == []


def test_a_linked_folder_of_timelines_is_not_followed(run, tmp_path, routine):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "v.mp4").write_bytes(routine.read_bytes())
    (tmp_path / "precious").mkdir()
    (tmp_path / "vtt").mkdir()
    (tmp_path / "vtt" / "sub").symlink_to(tmp_path / "precious")
    result = run("score", tmp_path / "in", "--vtt", tmp_path / "vtt", "-f", "csv")
    assert "a link leads out of" in result.errors[0]
    assert list((tmp_path / "precious").iterdir()) == []


@pytest.mark.parametrize("number", ["9" * 20, pytest.param("9" * 400, marks=pytest.mark.slow)])
def test_an_empty_file_of_an_odd_name_ends_no_run(run, tmp_path, routine, number):
    for folder in ("store", "pages"):
        (tmp_path / folder).mkdir()
        with atomic_write(tmp_path / folder / "x"):  # so shows itself what this machine's parts are called
            (part,) = (tmp_path / folder).glob(".*.part")
            machine = part.name.split(".")[-2].split("-")[0]
        name = f".x.{machine}-{number}.part"
        if len(name) < 256:
            (tmp_path / folder / name).touch()
    code = "import sys\nfrom mlavl_cli.__main__ import main\nmain()"
    command = ["score", routine, "-f", "csv", "--features", tmp_path / "store", "--report", tmp_path / "pages"]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)  # nothing swept yet
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert (tmp_path / "pages" / f"{routine.name}.html").exists()


def test_an_index_of_very_many_targets_shows_some_and_the_usual_ones(run, tmp_path, routine):
    row = {"name": "x", "weights": "w", "consistency": None, "duration_s": 1.0, "warnings": []}
    rows = []
    for i in range(100):
        (tmp_path / f"p{i}.html").touch()
        rows.append({**row, "page": f"p{i}.html", "scores": {f"t{i}-{j}": 1.0 for j in range(10)}})
    data = json.dumps({"routines": rows})
    (tmp_path / "index.html").write_text(f'<script type="application/json" id="data">{data}</script>')
    assert len(read_index(tmp_path)) == 100
    assert run("score", routine, "-f", "csv", "--report", tmp_path).exit_code == 0
    assert len(read_index(tmp_path)) == 101
    page = (tmp_path / "index.html").read_text()
    assert page.count("<th ") == 64 + 5
    assert ">TES<" in page


def test_a_lock_that_somebody_holds_is_waited_for_once(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(files, "_LOCK_S", 0.5)
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        begin = time.monotonic()
        for _ in range(10):
            with one_at_a_time(tmp_path / "lock"):
                pass
        assert 0.4 < time.monotonic() - begin < 2


def test_without_a_temporary_folder_videos_are_scored(tmp_path, routine):
    """A container whose file system can't be written, the results going to stdout."""
    code = (
        "import tempfile\ntempfile._get_default_tempdir = lambda *_: (_ for _ in ()).throw(FileNotFoundError('none'))\n"
    )
    code += "from mlavl_cli.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code, "score", routine, "-f", "csv"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_an_index_of_somebody_else_is_kept(run, tmp_path, routine):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("<h1>My club</h1>")
    for _ in range(2):
        assert run("score", routine, "-f", "csv", "--report", pages).exit_code == 0
    assert (pages / "index.1.html").read_text() == "<h1>My club</h1>"
    assert [one.name for one in read_index(pages)] == ["routine.mp4"]
    assert not (pages / "index.2.html").exists()


def test_a_lock_that_cannot_be_had_is_done_without(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with one_at_a_time(tmp_path / "lock"):
        pass
    assert not (tmp_path / "target").exists()
    with one_at_a_time(tmp_path / "no" / "such" / "folder"):
        pass


# --- Nothing raw -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", ["javascript:alert(1)", "//example.org/x", "../x.html", "/x.html", "a%2Fb", "data:text/html,x"]
)
def test_a_page_of_an_index_is_a_relative_path(tmp_path, page):
    row = {
        "page": page,
        "name": "x",
        "weights": "w",
        "scores": {},
        "consistency": None,
        "duration_s": 1.0,
        "warnings": [],
    }
    good = {**row, "page": "ok.html"}
    for name in (page, "ok.html"):
        target = tmp_path / Path(name).name
        target.touch()
    data = json.dumps({"routines": [row, good]})
    (tmp_path / "index.html").write_text(f'<script type="application/json" id="data">{data}</script>')
    assert [one.page for one in read_index(tmp_path)] == ["ok.html"]


def test_bundle_texts_and_file_names_send_no_escape_codes(bundle, run, tmp_path):
    changed(bundle, trained_on="\x1b[31mred\x07", name="[bold]x[/bold]", licence="\x9b2J")
    video = make_video(tmp_path / "a\x1b[31m.mp4", 34)
    for form in ("table", "csv", "json", "jsonl"):
        result = run("score", video, "--weights", bundle, "-f", form)
        assert "\x1b[31m" not in result.stdout + result.stderr, form
        assert "\x07" not in result.stdout
    for command in (["weights", "info", bundle], ["weights", "verify", bundle]):
        result = run(*command)
        assert not set(result.stdout + result.stderr) & {"\x1b", "\x07", "\x9b"}


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1", "'=1"),
        ("a;=1", "a;'=1"),
        ("a; -1+2", "a; '-1+2"),
        ("a,+A1", "a,'+A1"),
        (" @x", " '@x"),
        ("plain", "plain"),
        ("-1.5", "-1.5"),
        ("-1.000 to 1.000", "-1.000 to 1.000"),
        ("-1 to=2", "'-1 to=2"),
        ('x;"=1+1;" y', 'x;\'"=1+1;" y'),
        ("a; '@x", "a; ''@x"),
        ("\uff1d1", "'\uff1d1"),
    ],
)
def test_no_cell_is_a_formula_by_any_separator(text, cell):
    assert csv_text(text) == cell


@pytest.mark.parametrize("begun", ["", "x;", '"', "x,'"])
def test_a_cell_of_a_million_spaces_takes_no_time(begun):
    """What looked at each space anew took three hours."""
    blank = begun + " " * 1_000_000 + "x"
    assert csv_text(blank) == blank


def test_markup_is_printed_as_it_is(capsys):
    from mlavl_cli.cli.tables import print_rows

    print_rows([{"[red]t": "[bold]x"}], "table", "[blue]title")
    shown = capsys.readouterr().out
    assert "[red]t" in shown
    assert "[bold]x" in shown
    assert "[blue]title" in shown
    print_rows([{"=1": "=2"}], "csv")
    assert capsys.readouterr().out == "'=1\n'=2\n"


# --- Data traps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,split,TES\na.mp4,train,1\na.mp4,test,1\n", "lines 2 and 3 are one routine, in train and in test"),
        ("path,split,TES\na.mp4,train,1\n./a.mp4,train,2\n", "one routine with different scores"),
        ("path,split,TES,id\na.mp4,train,1,x\nb.mp4,test,1,x\n", "one routine, in train and in test"),
        ("path,split,TES,TES\na.mp4,train,1,2\n", "has two columns 'TES'"),
        ("path,split,TES\na.mp4,train,999\n", "line 2: TES 999 is not in 0 to 130"),
        ("path;split;TES\na.mp4;train;999,5\n", "line 2: TES 999.5 is not in 0 to 130"),
        ("path\tsplit\tTES\na.mp4\ttrain\t-1\n", "line 2: TES -1 is not in 0 to 130"),
        ("path,split,TES\na.mp4,train,nan\n", "line 2: TES nan is not in 0 to 130"),
    ],
)
def test_traps_in_labels_are_found_before_anything_is_trained(run, tmp_path, text, said):
    csv = tmp_path / "m.csv"
    for encoding in ("utf-8", "utf-16"):
        csv.write_text(text, encoding)
        result = run("train", "manifest", csv, "-o", tmp_path / "out")
        assert result.exit_code == 1
        assert said in result.errors[0]
        assert len(result.errors) == 1


@pytest.mark.parametrize("given", ["0:inf", "0:1e12", "-1e308:1e308", "9:3", "nan:1"])
def test_a_range_that_no_head_may_have_is_refused(run, tmp_path, given):
    result = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "out", "--range", f"TES={given}")
    assert result.exit_code == 2
    assert f"--range {given} is no range" in result.errors[0]


def test_a_file_of_equal_size_and_time_does_not_get_the_old_score(run, tmp_path):
    video, other = make_video(tmp_path / "v.mp4", 40), make_video(tmp_path / "w.mp4", 40, sound=None)
    size = max(path.stat().st_size for path in (video, other))
    for path in (video, other):
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    os.utime(video, ns=(10**18, 10**18))
    scores = [run("score", video, "-f", "json", "--features", tmp_path / "s").json()]
    other.replace(video)
    os.utime(video, ns=(10**18, 10**18))
    scores.append(run("score", video, "-f", "json", "--features", tmp_path / "s").json())
    assert [score["video"]["has_audio"] for score in scores] == [True, False]


# --- No mess ---------------------------------------------------------------------------------------------------------


def test_an_existing_files_mode_is_kept(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("old")
    path.chmod(0o600)
    with atomic_write(path, "w") as file:
        file.write("new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_killed_writer_left_is_swept_by_the_next_run(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom mlavl_cli.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n    file.write(b'half')\n    file.flush()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "x"], check=False)
    assert len(list(tmp_path.glob(".*.part"))) == 1
    whole = "import sys\nfrom pathlib import Path\nfrom mlavl_cli.files import atomic_write\n"
    whole += "with atomic_write(Path(sys.argv[1])) as file:\n    file.write(b'whole')\n"
    subprocess.run([sys.executable, "-c", whole, tmp_path / "y"], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["y"]


@pytest.mark.parametrize("after_s", [0.1, 0.2, 0.3, 0.5, 0.8])
def test_ctrl_c_while_it_starts_is_no_traceback(routine, after_s):
    def begin():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else a shell that runs us behind itself hides it

    code = "from mlavl_cli.__main__ import main\nprint(flush=True)\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "score", routine], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=begin,
    )  # fmt: skip
    process.stdout.readline()
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_being_told_to_end_is_ctrl_c(tmp_path, name):
    videos = [make_video(tmp_path / f"{i}.mp4", 40) for i in range(3)]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlavl_cli", "score", "-", "-f", "jsonl", "--features", tmp_path / "store"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdin.write(f"{videos[0]}\n")
    process.stdin.flush()
    first = process.stdout.readline()
    process.send_signal(getattr(signal, name))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(first)["video"]["path"] == str(videos[0])
    assert "Traceback" not in stderr
    assert not list((tmp_path / "store").glob(".*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT"])
def test_no_process_outlives_synthesize(tmp_path, name):
    process = subprocess.Popen(
        [sys.executable, "-m", "mlavl_cli", "synthesize", tmp_path / "out", "-n", "8", "--seconds", "200:300"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip

    def members():
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                if int(fields[3]) == process.pid and fields[0] != "Z":
                    found.append(int(entry.name))
        return found

    deadline = time.monotonic() + 60
    while len(members()) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2)
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while members() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert members() == []


# --- What the fifth reviewer found ------------------------------------------------------------------------------------


@pytest.mark.parametrize("times_s", [[0.0, 0.04, 2e7, 2e7 + 0.04], [3e7, 3e7, 3e7]])
def test_pictures_after_months_are_one_line(tmp_path, times_s):
    path = make_video(tmp_path / "a.mkv", len(times_s), sound=None, times_s=times_s)
    with Media(path) as media, pytest.raises(MediaError, match="shown after"):
        for _ in VideoReader(media).frames():
            pass


def test_a_single_picture_of_a_millisecond_is_a_clip(run, tmp_path):
    path = make_video(tmp_path / "a.mp4", 1, fps=1000, sound=None)
    result = run("score", path, "-f", "json")
    assert result.exit_code == 0, result.stderr
    assert len(result.json()["clips"]) == 1


def test_warnings_of_a_store_send_no_escape_codes(run, routine, tmp_path):
    assert run("extract-features", routine, "-o", tmp_path / "s").exit_code == 0
    (stored,) = (tmp_path / "s").rglob("*.safetensors")
    features = read_features(stored)
    write_features(stored, replace(features, warnings=("consistency is not validated \x1b[31m\x1b]0;x\x07",)))
    for form in ("table", "csv"):
        said = run("score", routine, "--features", tmp_path / "s", "-f", form, "--report", tmp_path / "pages")
        assert said.exit_code == 0
        assert "\x1b]0" not in said.stdout + said.stderr
    assert "\x1b" not in (tmp_path / "pages" / f"{routine.name}.html").read_text()


@pytest.mark.parametrize("number", [10**400, 1e308])
def test_numbers_of_an_index_that_nothing_can_show_are_none(run, routine, tmp_path, number):
    assert run("score", routine, "--report", tmp_path).exit_code == 0
    page = (tmp_path / "index.html").read_text()
    duration = str(read_index(tmp_path)[0].duration_s)
    assert f'"duration_s": {duration}' in page
    (tmp_path / "index.html").write_text(page.replace(f'"duration_s": {duration}', f'"duration_s": {number}'))
    assert read_index(tmp_path) == []
    assert run("score", routine, "--report", tmp_path).exit_code == 0
    assert len(read_index(tmp_path)) == 1


def test_an_endless_index_is_not_read(tmp_path):
    with (tmp_path / "index.html").open("wb") as file:
        file.truncate(10 << 30)
    assert read_index(tmp_path) == []


def test_a_table_of_a_hundred_thousand_columns_is_refused_at_once(run, tmp_path):
    names = [f"c{i}" for i in range(100_000)]
    (tmp_path / "m.csv").write_text(",".join(["path", "split", *names]) + "\n" + ",".join(["a.mp4", "train", *names]))
    result = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "out")
    assert "100002 columns" in result.errors[0]


def test_consistency_of_many_clips_takes_little_memory():
    from mlavl_cli.heads.dims import HeadDims
    from mlavl_cli.heads.mlavl.consistency import consistency
    from mlavl_cli.heads.mlavl.model import MLAVL

    head = MLAVL(HeadDims(24, 5, 20, 12, width=16, heads=2, consistency_decay=4), torch.randn(28, 12)).eval()
    fused, grades = torch.randn(1, 20_000, 16), torch.randn(12, 16)
    before = peak_memory_mb()
    with torch.inference_mode():
        assert consistency(head.dpg, head.dims, grades, fused).shape == (1, 20_000)
    assert peak_memory_mb() - before < 800  # T x T would be 1,600 a matrix


@pytest.mark.parametrize("channels", [65, 100])
def test_a_sound_of_more_channels_than_can_be_mixed_is_silence(run, tmp_path, channels):
    path = tmp_path / "v.nut"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout=f"{channels} channels")
        for _ in range(70):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), "rgb24")))
        container.mux(video.encode())
        for start in range(0, 16_000 * 2, 1000):
            frame = av.AudioFrame(format="s16", layout=f"{channels} channels", samples=1000)
            frame.planes[0].update(bytes(2000 * channels))
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    result = run("score", path, "-f", "json")
    assert result.exit_code == 0, result.stderr
    assert "damaged pieces of the sound" in " ".join(result.json()["warnings"])


@pytest.mark.parametrize(
    ("video", "provenance"),
    [
        ({"width_px": 0}, {}),
        ({"height_px": 1e-320}, {}),
        ({"fps": 0.0}, {}),
        ({}, {"cutting": []}),
        ({}, {"cutting": {"frame_rate": "fast"}}),
        ({}, {"cutting": "x"}),
        ({}, {"precision": "deep"}),
    ],
)
def test_feature_files_of_odd_settings_are_one_line_or_made_again(run, tmp_path, routine, video, provenance):
    store = tmp_path / "s"
    assert run("extract-features", routine, "-o", store).exit_code == 0
    (stored,) = store.rglob("*.safetensors")
    features = read_features(stored)
    if provenance.get("precision"):
        deep = []
        for _ in range(300):
            deep = [deep]
        provenance = {"precision": deep}
    odd = replace(features, video=replace(features.video, **video), provenance=features.provenance | provenance)
    write_features(stored, odd)
    scored = run("score", routine, "--features", store, "-f", "csv", "--report", tmp_path / "pages")
    assert scored.exit_code == 0, scored.stderr
    assert (tmp_path / "pages" / f"{routine.name}.html").exists()
    write_features(stored, odd)
    (tmp_path / "m.csv").write_text(f"path,split,TES\n{stored.relative_to(tmp_path)},train,3\n")
    trained = run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "out", "--epochs", 1)
    assert "internal error" not in trained.stderr


@pytest.mark.parametrize("content", [3, None, [3], np.zeros(()), np.zeros((2, 2)), {"a": 1}, [("e",)]])
def test_a_split_of_logo_that_is_none_is_one_line(run, tmp_path, content):
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "anno_dict.pkl").write_bytes(pickle.dumps({("e", "1"): 3.0}))
    for split in ("train", "test"):
        (tmp_path / "A" / f"{split}.pkl").write_bytes(pickle.dumps(content))
    result = run("train", "logo", tmp_path, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "internal error" not in result.stderr
    assert "train.pkl" in result.errors[0]


@pytest.mark.parametrize("state", [[1], {"layers.x": 1}, {3: torch.zeros(1)}, {"layers.0.blocks": "text"}])
def test_a_checkpoint_of_something_else_is_no_video_swin(run, tmp_path, routine, state):
    torch.save(state, tmp_path / "a.pth")
    result = run("extract-features", routine, "-o", tmp_path / "s", "--visual", tmp_path / "a.pth")
    assert result.exit_code == 1
    assert "internal error" not in result.stderr
    assert "a.pth" in result.errors[0]


def test_few_text_features_hold_no_grades_in_blocks():
    with pytest.raises(DataError, match="in blocks"):
        interleaved(TextFeatures(torch.zeros(3, 8)))


# --- What a seventh reviewer found ------------------------------------------------------------------------------------


def hollow(path, header, bytes_long):
    """A safetensors file of that header whose numbers are a hole."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + bytes_long)


@pytest.mark.parametrize("what", ["domain", "head", "store", "text", "checkpoint", "video"])
def test_hollow_files_are_refused_before_they_are_read(run, tmp_path, bundle, routine, what):
    """Gigabytes of holes cost whoever sends them nothing."""
    long = 5 << 30
    header = {"visual": {"dtype": "F32", "shape": [long // 4096, 1024], "data_offsets": [0, long]}}
    before = peak_memory_mb()
    if what == "store":
        (tmp_path / "s").mkdir()
        hollow(tmp_path / "s" / f"{routine.name}.safetensors", header | {"__metadata__": {"mlavl": "{}"}}, long)
        assert run("score", routine, "--features", tmp_path / "s").exit_code == 0  # made again, in its place
        assert (tmp_path / "s" / f"{routine.name}.safetensors").stat().st_size < 1 << 20
    elif what in ("domain", "head"):
        hollow(bundle / ("domain.safetensors" if what == "domain" else "heads/TES.safetensors"), header, long)
        result = run("score", routine, "--weights", bundle)
        assert result.exit_code == 1
        assert "internal" not in result.stderr
    elif what == "video":
        (tmp_path / "v.mp4").write_bytes(routine.read_bytes())
        os.truncate(tmp_path / "v.mp4", long)
        result = run("score", tmp_path / "v.mp4", routine)
        assert "longer than what is stored" in result.errors[0]
        assert "TES" in result.stdout
    else:
        np.save(tmp_path / "t.npy", np.zeros((102, 512), np.float32))
        torch.save({"w1": torch.zeros(1)}, tmp_path / "c.pkl")
        os.truncate(tmp_path / ("t.npy" if what == "text" else "c.pkl"), long)
        options = ["-t", "TES", "--range", "0:130", "-o", tmp_path / "o", "--backbones", "fs1000"]
        result = run("weights", "import", tmp_path / "c.pkl", "--text-features", tmp_path / "t.npy", *options)
        assert result.exit_code == 1
        assert "internal" not in result.stderr
    assert peak_memory_mb() - before < 800


def test_a_domain_of_unknown_tensors_reads_none_of_them(tmp_path, bundle):
    from safetensors.numpy import load_file, save_file

    path = bundle / "domain.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "junk": np.zeros(30_000_000, np.float32)}, path)
    before = peak_memory_mb()
    assert load_detector(path).read({"visual": np.zeros((3, 192), np.float32)}) is not None
    assert peak_memory_mb() - before < 60


def test_a_torch_archive_with_two_lists_of_its_parts_is_refused(tmp_path):
    """zipfile reads the list before the archive's end, torch the one at the place that the end names."""
    torch.save({"w": torch.zeros(4)}, tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    assert read_torch(tmp_path / "a.pt")["w"].shape == (4,)
    for changed_file in (data[:2] + b"\0" * 16 + data[2:], data + b"\0", b"PK\3\4" + b"\0" * 60 + data):
        (tmp_path / "b.pt").write_bytes(changed_file)
        with pytest.raises(Exception, match=r"."):
            read_torch(tmp_path / "b.pt")


def test_a_store_entry_with_clips_behind_its_video_is_made_again(run, tmp_path, routine):
    store = tmp_path / "s"
    assert run("extract-features", routine, "-o", store).exit_code == 0
    (stored,) = store.rglob("*.safetensors")
    features = read_features(stored)
    late = replace(features, start_s=features.start_s + 1e4, end_s=features.end_s + 1e4)
    write_features(stored, late)
    with pytest.raises(FeatureError):
        read_features(stored)
    clips = run("score", routine, "--features", store, "-f", "json").json()["clips"]
    assert clips[-1]["end_s"] < 100


def test_very_many_clips_are_not_compared_in_one_matrix():
    """Eight heads would make 8 T x T numbers of them."""
    from mlavl_cli.heads.layers import lean_attention

    head = MLAVL(HeadDims(24, 5, 20, 12, width=16, heads=8, graph="even"), torch.randn(28, 12)).eval()
    visual, audio = torch.randn(1, 6000, 24), torch.randn(1, 6000, 20)
    before = peak_memory_mb()
    with torch.inference_mode(), lean_attention(6000):
        lean = head(visual, audio).score
    assert peak_memory_mb() - before < 500
    with torch.inference_mode():
        torch.testing.assert_close(head(visual[:, :700], audio[:, :700]).score, _lean(head, visual, audio, 700))
    assert lean.isfinite().all()


def _lean(head, visual, audio, clips):
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        return head(visual[:, :clips], audio[:, :clips]).score
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_labels_of_millions_of_rows_or_parts_are_refused(run, tmp_path):
    (tmp_path / "m.csv").write_text("path,split,TES\n" + ",,\n" * 300_000)
    assert "more than 200,000 rows" in run("train", "manifest", tmp_path / "m.csv", "-o", tmp_path / "o").errors[0]
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "anno_dict.pkl").write_bytes(b"\x80\x04(" + b"]" * 2_000_000 + b"l.")
    assert "more than 1,000,000 parts" in run("train", "logo", tmp_path, "-o", tmp_path / "o").errors[0]


def test_json_of_a_backbone_is_of_a_size_that_settings_have(run, bundle, routine):
    (bundle / "backbones" / "visual" / "processor_config.json").write_text('{"x":[' + "{}," * 2_000_000 + "0]}")
    result = run("score", routine, "--weights", bundle)
    assert result.exit_code == 1
    assert "processor_config.json: far too large" in result.errors[0]


def test_numbers_of_a_backbone_are_of_a_usual_kind(run, bundle, routine):
    path = bundle / "backbones" / "visual" / "model.safetensors"
    header = {"a": {"dtype": "F8_E4M3", "shape": [1000], "data_offsets": [0, 1000]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(1000))
    result = run("score", routine, "--weights", bundle)
    assert result.exit_code == 1
    assert "F8_E4M3" in result.errors[0]


def test_a_head_of_another_target_is_refused(run, bundle, routine):
    """Its points would stand under a name that they don't belong to."""
    text = json.loads((bundle / "bundle.json").read_text())
    changed(bundle, heads={"TES": text["heads"]["PCS"]}, intervals={})
    result = run("score", routine, "--weights", bundle)
    assert result.exit_code == 1
    assert "scores 'PCS', where its bundle has TES" in result.errors[0]


@pytest.mark.parametrize("target", ["=1+1", "$a^b^c$"])
def test_odd_names_of_targets_are_text_everywhere(run, tmp_path, bundle, target):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    heads = json.loads((bundle / "bundle.json").read_text())["heads"]
    path = bundle / heads["TES"]
    with safe_open(path, "np") as file:
        metadata = json.loads(file.metadata()["mlavl"])
    save_file(load_file(path), path, {"mlavl": json.dumps(metadata | {"target": target})})
    changed(bundle, heads={target: heads["TES"]}, intervals={})
    rows = [f'path,split,"{target}"']
    for i, split in enumerate(("train", "train", "test", "test", "test")):
        make_video(tmp_path / f"{i}.mp4", 60 + i)
        rows.append(f"{i}.mp4,{split},{i}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    outputs = ["--predictions", tmp_path / "p.csv", "--plot", tmp_path / "p.svg"]
    result = run("evaluate", "manifest", tmp_path / "m.csv", "--weights", bundle, *outputs)
    assert "internal" not in result.stderr, result.stderr
    assert not any(line.split(",")[1].startswith("=") for line in (tmp_path / "p.csv").read_text().splitlines())


def test_a_traceback_sends_no_escape_codes(run, tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "anno_dict.pkl").write_bytes(b"\x80\x04c\x1b[31mEVIL\x1b]0;t\x07G\nx\n.")
    result = run("train", "logo", tmp_path, "-o", tmp_path / "o", "--verbose")
    assert "Traceback" in result.stderr
    assert "\x1b[31mEVIL" not in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="locks as Linux has them")
def test_a_writers_file_is_not_swept_though_its_number_means_nobody_here(tmp_path, monkeypatch):
    """In a container of the same name processes have other numbers; whoever writes holds a lock."""
    monkeypatch.setattr(leftovers, "_alive", lambda number: False)
    with atomic_write(tmp_path / "a.csv", "w") as file:
        file.write("1")
        leftovers._swept.clear()
        leftovers.sweep_parts(tmp_path)
    assert (tmp_path / "a.csv").read_text() == "1"
    left = tmp_path / f".b.csv.{leftovers.own_mark()}.part"
    left.write_text("2")
    leftovers._swept.clear()
    leftovers.sweep_parts(tmp_path)
    assert not left.exists()


def test_a_drive_that_does_not_say_what_it_stores_is_believed(tmp_path, monkeypatch):
    """Network drives give no number of blocks; but what holds nothing at all is hollow wherever that can be asked."""
    path = tmp_path / "v"
    path.write_bytes(b"x")
    os.truncate(path, 1 << 30)
    assert files.is_hollow(path)
    status = path.stat()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", lambda self, **_: type("S", (), {"st_size": status.st_size, "st_blocks": 0})())
        assert not files.is_hollow(path)
    path.write_bytes(b"")
    os.truncate(path, 1 << 30)
    assert files.is_hollow(path)


@pytest.mark.parametrize("provenance", [{"source": "x"}, {"source": [1]}, {"precision": []}, {"precision": {}}])
def test_odd_provenance_in_a_store_is_made_again(run, routine, tmp_path, provenance):
    """One entry must not end the run of all files."""
    store, name = tmp_path / "s", "routine.mp4"
    videos = tmp_path / "v"
    videos.mkdir()
    for letter in "ab":
        (videos / f"{letter}.mp4").write_bytes(routine.read_bytes())
    run("extract-features", videos, "-o", store)
    path = store / "a.mp4.safetensors"
    features = read_features(path)
    write_features(path, replace(features, provenance={**features.provenance, **provenance}))
    result = run("score", videos, "--features", store, "-f", "csv")
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 3
    assert isinstance(read_features(path).provenance["source"], dict), name


def test_a_window_longer_than_any_routine_is_refused(bundle):
    path = bundle / "heads" / "TES.safetensors"
    with open_safetensors(path, "pt") as file:
        tensors, about = {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["mlavl"])  # noqa: SIM118
    path.write_bytes(save(tensors, {"mlavl": json.dumps({**about, "window": 65536})}))
    with pytest.raises(WeightsError, match="window of 65536"):
        load_head(path)


def test_labels_that_name_one_routine_again_and_again_are_refused(tmp_path):
    """Its features would be kept as often."""
    root = layouts.fisv(tmp_path / "d")
    lines = (root / "train.txt").read_text().splitlines()
    (root / "train.txt").write_text("\n".join([*lines, lines[-1]]))
    with pytest.raises(DataError, match="more than once"):
        load_dataset("fisv", root, place("cpu"))
    (root / "train.txt").write_text("a 1 2\n" + "x" * 20_000)
    with pytest.raises(DataError, match="letters"):
        load_dataset("fisv", root, place("cpu"))


def test_a_clip_of_sound_is_not_filled_up_to_a_day(tmp_path):
    root = layouts.fs1000(tmp_path / "d")
    path = next((root / "ast_feature_fs1000_new").glob("train*.npy"))
    np.save(root / "output_feature_fs1000_new" / path.name, np.zeros((50_000, 16), np.float32))
    with pytest.raises(DataError, match="has 50000 clips of pictures and"):
        load_dataset("fs1000", root, place("cpu"))


def test_texts_of_an_index_are_of_a_length_that_texts_have(tmp_path):
    (tmp_path / "x.html").write_text("x")
    row = {"page": "x.html", "name": "x", "weights": "w", "scores": {}, "consistency": None, "duration_s": 1.0}
    for changes, kept in (({}, 1), ({"weights": "'" * 5000}, 0), ({"warnings": ["w"] * 200}, 0)):
        data = json.dumps({"routines": [{**row, "warnings": [], **changes}]})
        (tmp_path / "index.html").write_text(f'<script type="application/json" id="data">{data}</script>')
        assert len(read_index(tmp_path)) == kept


@pytest.mark.parametrize(("heads", "fps", "said"), [(16, 25, "compares all patches at once"), (1, 4, "patches")])
def test_sound_is_counted_as_it_is_cut_and_not_as_settings_say(bundle, run, tmp_path, heads, fps, said):
    """A model of four frames may cut a clip of sound into 8,000 patches, and would compare them all at once."""
    from transformers import ASTConfig, ASTModel

    folder = bundle / "backbones" / "audio"
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": heads, "intermediate_size": 32}
    cut = {"patch_size": 2, "frequency_stride": 1, "time_stride": 1, "max_length": 4, "num_mel_bins": 64}
    ASTModel(ASTConfig(**sizes, **cut, attn_implementation="eager")).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attn_implementation": "eager"}))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "max_length": 4, "num_mel_bins": 64}))
    video = make_video(tmp_path / "v.mp4", 34, fps=fps)
    before = peak_memory_mb()
    options = ["--backbones", bundle, "--frame-rate", "native"]
    result = run("extract-features", video, "-o", tmp_path / "s", *options)
    assert result.exit_code == 1
    assert said in result.errors[0]
    assert peak_memory_mb() - before < 800


@pytest.mark.parametrize("options", [{"size": [64, 64, 64], "crop": [64, 64]}, {"size": [64], "short_side": 64}])
def test_pictures_have_two_sides(bundle, run, routine, options):
    manifest = json.loads((bundle / "bundle.json").read_text())
    visual = {"folder": "backbones/visual", "options": options}
    (bundle / "bundle.json").write_text(json.dumps({**manifest, "visual": visual}))
    result = run("score", routine, "--weights", bundle)
    assert result.exit_code == 1
    assert "internal error" not in result.stderr


@pytest.mark.parametrize("name", ["backbones/visual/model.safetensors", "backbones/visual/junk.pt", "heads/junk.pt"])
def test_no_hash_is_taken_of_a_hollow_file(bundle, run, routine, name):
    """Hundreds of gigabytes of holes would be read for hours."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    path = bundle / name
    with path.open("ab") as file:
        file.truncate(400 << 30)
    (bundle / "bundle.json").write_text(json.dumps({**manifest, "files": {name: "0" * 64}}))
    command = ["weights", "verify", bundle] if name.startswith("heads") else ["score", routine, "--weights", bundle]
    result = run(*command)
    assert result.exit_code == 1
    assert "far longer than what is stored of it" in result.errors[0]


def test_a_file_beside_a_models_weights_is_of_a_size_that_it_has(bundle, run, tmp_path):
    with (bundle / "backbones" / "text" / "merges.txt").open("wb") as file:
        file.truncate(2 << 30)
    result = run("prompts", "encode", "-o", tmp_path / "x.npy", "--text", bundle / "backbones" / "text", "skating")
    assert result.exit_code == 1
    assert "merges.txt" in result.errors[0]


def test_pages_hold_no_control_characters_of_a_name(run, routine, tmp_path):
    """Whoever prints a page to a terminal would have it obeyed."""
    (tmp_path / "a\x1b[31m\x07.mp4").write_bytes(routine.read_bytes())
    assert run("score", tmp_path, "--report", tmp_path / "r", "-q").exit_code == 0
    for page in (tmp_path / "r").rglob("*.html"):
        assert not {0x1B, 0x07} & set(page.read_bytes())


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("tokenizer_config.json", {"vocab": "/etc/passwd", "merges": "/etc/passwd"}),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["../../../tokenizer.4.0.0.json"]}),
        ("tokenizer_config.json", {"vocab_file": "/dev/zero"}),
        ("config.json", {"configuration_files": ["config.4.0.0.json"]}),
    ],
)
def test_settings_that_lead_to_other_files_are_refused(bundle, run, tmp_path, name, fields):
    """A tokenizer would read its words from wherever they say."""
    path = bundle / "backbones" / "text" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    result = run("prompts", "encode", "-o", tmp_path / "x.npy", "--text", path.parent, "skating")
    assert result.exit_code == 1
    assert "leads to other files" in result.errors[0]


def test_settings_that_name_no_other_file_are_no_trap(bundle, run, tmp_path):
    """As older libraries wrote them; and a count of operations is no size."""
    folder = bundle / "backbones" / "text"
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_file": None, "vocab_file": None}))
    (folder / "trainer_state.json").write_text(json.dumps({"total_flos": 10**17}))
    with (folder / "tf_model.h5").open("wb") as file:  # of another library
        file.write(os.urandom(1 << 20))
        file.truncate(600 << 20)
    assert run("prompts", "encode", "-o", tmp_path / "x.npy", "--text", folder, "skating").exit_code == 0


def test_settings_by_any_name_are_checked(bundle, run, routine):
    odd = json.dumps({"num_labels": 4_000_000})
    (bundle / "backbones" / "visual" / "config.4.0.0.json").write_text(odd)
    assert "labels, more than any backbone" in run("score", routine, "--weights", bundle).errors[0]


def test_a_file_is_no_backbone_of_the_hubs_kind(bundle, run, routine):
    manifest = json.loads((bundle / "bundle.json").read_text())
    (bundle / "audio.json").write_text((bundle / "backbones" / "audio" / "config.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**manifest, "audio": {"folder": "audio.json"}}))
    assert "the folder of a saved model is needed" in run("score", routine, "--weights", bundle).errors[0]


def test_a_table_of_positions_is_counted_before_it_is_made(bundle, run, routine):
    path = bundle / "backbones" / "visual" / "config.json"
    sizes = {"hidden_size": 4096, "image_size": 512, "patch_size": 16, "num_frames": 16, "tubelet_size": 2}
    path.write_text(json.dumps({"model_type": "videomae", **sizes}))
    began = time.process_time()
    assert "table of positions" in run("score", routine, "--weights", bundle).errors[0]
    assert time.process_time() - began < 20


def test_many_attention_heads_take_no_more_memory():
    dims = HeadDims(24, 5, 20, 12, width=512, heads=32)
    model = MLAVL(dims, torch.randn(28, 12)).eval()
    before = peak_memory_mb()
    with torch.inference_mode(), lean_attention(1024, dims.heads):
        model(torch.randn(1, 1024, 24), torch.randn(1, 1024, 20))
    assert peak_memory_mb() - before < 900


def test_a_grade_is_a_word(bundle):
    path = bundle / "heads" / "TES.safetensors"
    with open_safetensors(path, "pt") as file:
        tensors, about = {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["mlavl"])  # noqa: SIM118
    grades = ["x" * 1_000_000, *about["grades"][1:]]
    path.write_bytes(save(tensors, {"mlavl": json.dumps({**about, "grades": grades})}))
    with pytest.raises(WeightsError, match="more than 100 letters"):
        load_head(path)


def test_short_lines_below_many_columns_take_no_memory(run, tmp_path):
    """Each would be filled up with a thousand empty cells."""
    table = tmp_path / "m.csv"
    table.write_text("path,split," + ",".join(f"c{i}" for i in range(900)) + "\n" + "a\n" * 190_000)
    before = peak_memory_mb()
    result = run("train", "manifest", table, "-o", tmp_path / "o")
    assert "line 2 has not as many cells" in result.errors[0]
    table.write_text("id,name," + ",".join(f"c{i}" for i in range(20_000)) + "\n" + "1,x\n" * 300_000)
    result = run("prompts", "list", "--actions", table)
    assert result.exit_code == 1
    assert peak_memory_mb() - before < 300


def test_a_file_is_hashed_once_under_whatever_names(bundle, run, monkeypatch):
    manifest = json.loads((bundle / "bundle.json").read_text())
    name = "heads/TES.safetensors"
    digest = files.sha256(bundle / name)
    others = {"heads/" + "./" * i + "TES.safetensors": digest for i in range(1, 50)}
    (bundle / "bundle.json").write_text(json.dumps({**manifest, "files": {**manifest["files"], **others}}))
    hashed = []
    monkeypatch.setattr("mlavl_cli.untrusted.sha256", lambda path: hashed.append(path) or files.sha256(path))
    assert run("weights", "verify", bundle).exit_code == 0
    assert len(hashed) == len(set(hashed)) == len(manifest["files"])


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\ud800"])
def test_names_that_no_file_can_have_are_one_line(bundle, run, name):
    manifest = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**manifest, "files": {name: "0"}}))
    result = run("weights", "verify", bundle)
    assert result.exit_code == 1
    assert "internal error" not in result.stderr


@pytest.mark.parametrize("link", ["heads", "backbones/visual", "runs"])
def test_nothing_is_written_through_a_link_of_a_bundle(run, tmp_path, link):
    """A bundle from elsewhere may be given as --output."""
    victim, output = tmp_path / "victim", tmp_path / "b"
    victim.mkdir()
    (output / link).parent.mkdir(parents=True)
    (output / link).symlink_to(victim)
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "t.npy")
    options = ["--text-features", text, "--epochs", 1, "--width", 16, "-t", "TES"]
    result = run("train", "fisv", root, "-o", output, *options)
    assert result.exit_code == 1
    assert "is a link" in result.errors[0]
    assert not list(victim.iterdir())


@pytest.mark.parametrize(
    "name", ["OneFormerImageProcessor", "AutoTokenizer", "ClapFeatureExtractor", "PreTrainedModel"]
)
@pytest.mark.parametrize("key", ["video_processor_type", "image_processor_type", "feature_extractor_type"])
def test_a_processor_is_of_a_backbones_kind(bundle, run, tmp_path, key, name):
    """The library builds whatever class of its own is named, which may read other files, or run a repository's code."""
    path = bundle / "backbones" / "visual" / "video_preprocessor_config.json"
    settings = json.loads(path.read_text())
    settings.pop("video_processor_type", None)
    path.write_text(json.dumps({**settings, key: name}))
    result = run("score", make_video(tmp_path / "v.mp4"), "--weights", bundle)
    assert result.exit_code == 1
    assert f"names {name!r} as its {key}" in result.errors[0]


@pytest.mark.parametrize("place", ["domain", "heads", "files"])
def test_a_path_of_a_million_parts_is_one_line(bundle, run, place):
    deep = "a/" * 1_000_000 + "x"
    manifest = json.loads((bundle / "bundle.json").read_text())
    value = {"domain": deep, "heads": {"TES": deep}, "files": {deep: "0"}}[place]
    (bundle / "bundle.json").write_text(json.dumps({**manifest, place: value}))
    began = time.monotonic()
    result = run("weights", "verify", bundle)
    assert result.exit_code in (1, 2)
    assert len(result.errors[0]) < 1000
    assert time.monotonic() - began < 20


def test_cells_of_a_manifest_are_counted_and_are_of_a_length(run, tmp_path):
    table, before = tmp_path / "m.csv", peak_memory_mb()
    columns = ["path", "split", *(f"c{i}" for i in range(898))]
    table.write_text(";".join(columns) + "\n" + (";" * 899 + "\n") * 20_000)
    assert "has more than 4,000,000 cells" in run("train", "manifest", table, "-o", tmp_path / "o").errors[0]
    table.write_text("path,split,TES\n" + "a/" * 3000 + "v.mp4,train,1\n")
    assert "a path of more than 4,096 letters" in run("train", "manifest", table, "-o", tmp_path / "o").errors[0]
    table.write_text("path,split,TES\nv\0.mp4,train,1\n")
    assert "holds a NUL character" in run("train", "manifest", table, "-o", tmp_path / "o").errors[0]
    assert peak_memory_mb() - before < 900


def test_what_stands_behind_the_columns_of_a_table_is_not_kept(tmp_path):
    from mlavl_cli.datasets.dataset import read_rows

    (tmp_path / "t.txt").write_text("".join(f"r{i} 1 2 " + "x " * 500 + "\n" for i in range(1000)))
    rows = read_rows(tmp_path / "t.txt", ("TES", "PCS"))
    assert rows[7] == ["r7", "1", "2", "x"]  # one more, which may be a factor


def test_one_file_of_features_is_one_routine(run, tmp_path):
    root, text = layouts.logo(tmp_path / "d"), layouts.text_features(tmp_path / "t.npy")
    folder = next(path for path in root.rglob("anno_dict.pkl")).parent
    annotations = {(f"e{i}", "x"): 50.0 + i for i in range(6)}
    (folder / "anno_dict.pkl").write_bytes(pickle.dumps(annotations))
    for split in ("train", "test"):
        next(folder.glob(f"{split}*.pkl")).write_bytes(pickle.dumps(list(annotations)))
    features = next(path for path in root.rglob("*.npy"))
    (root / "FEATURES").mkdir(exist_ok=True)
    (root / "FEATURES" / "x.npy").write_bytes(features.read_bytes())
    result = run("train", "logo", root, "--text-features", text, "-o", tmp_path / "o")
    assert result.exit_code == 1
    assert "e0/x.npy: no such feature file" in result.errors[0]  # x.npy may be any event's


def test_one_array_under_many_ids_is_refused(run, tmp_path):
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "t.npy")
    ids = [
        line.split()[0] for split in ("train", "test") for line in (root / f"{split}.txt").read_text().split("\n")[1:]
    ]
    one, more = np.zeros((4000, 64), np.uint8), [np.full((40, 64), i, np.float32) for i in range(len(ids))]
    named = dict(zip(ids, more, strict=True)) | dict.fromkeys(ids[:12], one)
    for name in ("rgb_VST", "audio_AST"):
        (root / f"FISV_{name}.npy").write_bytes(pickle.dumps(named, protocol=2))
    result = run("train", "fisv", root, "--text-features", text, "-o", tmp_path / "o")
    assert result.exit_code == 1
    assert "names the same features by many ids" in result.errors[0]


@pytest.mark.parametrize("warnings", ["a" * 5000, [""] * 5000, ["a" * 10_000], {"a": 1}])
def test_warnings_are_few_and_of_a_length(run, tmp_path, warnings):
    video, store = make_video(tmp_path / "v.mp4"), tmp_path / "store" / "v.mp4.safetensors"
    score = run("score", video, "-f", "json", "--features", tmp_path / "store").json()
    with open_safetensors(store, "np") as file:
        arrays, about = {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["mlavl"])  # noqa: SIM118
    from safetensors.numpy import save as save_arrays

    store.write_bytes(save_arrays(arrays, {"mlavl": json.dumps({**about, "warnings": warnings})}))
    with pytest.raises(FeatureError, match="is no feature file"):
        read_features(store)
    (tmp_path / "a.json").write_text(json.dumps({**score, "warnings": warnings}))
    (tmp_path / "b.json").write_text(json.dumps(score))
    result = run("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert result.exit_code == 1
    assert "can't be read as the score of one video" in result.errors[0]


def test_a_target_named_by_a_million_words_is_none(run, tmp_path):
    score = run("score", make_video(tmp_path / "v.mp4"), "-f", "json").json()
    named = {**score["scores"], "x " * 1_000_000: score["scores"]["TES"]}
    (tmp_path / "a.json").write_text(json.dumps({**score, "scores": named}))
    (tmp_path / "b.json").write_text(json.dumps(score))
    result = run("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert result.exit_code == 1
    assert len(result.stderr) < 1000


def test_a_page_has_one_name_in_an_index_and_rows_are_few(run, tmp_path):
    pages = tmp_path / "pages"
    assert run("score", make_video(tmp_path / "v.mp4"), "--report", pages).exit_code == 0
    (honest,) = read_index(pages)
    text = (pages / "index.html").read_text()
    begin = text.index('id="data">') + len('id="data">')
    data, end = json.JSONDecoder().raw_decode(text[begin:])
    row = data["routines"][0]
    odd = [{**row, "page": "./" * i + row["page"]} for i in range(1, 1500)]
    (pages / "index.html").write_text(
        text[:begin] + json.dumps({**data, "routines": [row, *odd]}) + text[begin + end :]
    )
    assert read_index(pages) == [honest]


def test_a_second_end_does_not_undo_the_first(tmp_path, monkeypatch):
    """SIGINT while a result file is put away: it is whole, and the run ends."""
    from mlavl_cli.cli.outputs import _result_file
    from mlavl_cli.files import atomic_write

    opened = atomic_write(tmp_path / "o.csv", "w", named=True)
    synced = os.fsync

    def interrupted(handle):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return synced(handle)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    monkeypatch.setattr(os, "fsync", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), _result_file(tmp_path, opened, {Path("v.mp4")}) as file:
            file.write("whole\n")
            raise KeyboardInterrupt
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / "o.csv").read_text() == "whole\n"


def test_an_output_that_cannot_be_written_leaves_the_others(run, tmp_path):
    video = make_video(tmp_path / "v.mp4")
    (tmp_path / "vtt" / "v.mp4.vtt").mkdir(parents=True)
    result = run("score", video, "--vtt", tmp_path / "vtt", "--report", tmp_path / "pages", "-f", "csv")
    assert result.exit_code == 1
    assert (tmp_path / "pages" / "v.mp4.html").exists()
    assert len(result.stdout.splitlines()) == 2


def test_a_state_of_more_epochs_or_terms_than_a_run_has_is_one_line(run, tmp_path):
    root, text = layouts.fisv(tmp_path / "d"), layouts.text_features(tmp_path / "t.npy")
    options = ["--text-features", text, "--width", "16", "-t", "TES", "--epochs", "2", "-o", tmp_path / "o"]
    assert run("train", "fisv", root, *options).exit_code == 0
    path = tmp_path / "o" / "runs" / "TES" / "mlavl" / "last.pt"
    state = torch.load(path, weights_only=True)
    last = state["history"][-1]
    for history in ([last] * 500, [{**last, "terms": {f"t{i}": 0.1 for i in range(100)}}]):
        torch.save({**state, "history": history}, path)
        result = run("train", "fisv", root, *options)
        assert result.exit_code == 1
        assert "is no state of a training run" in result.errors[0]
