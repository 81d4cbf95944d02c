"""Imports run one way, from the ground and the media up to the command line."""

import ast
from pathlib import Path

import mlavl_cli

PACKAGE = Path(mlavl_cli.__file__).parent
GROUND = [
    "errors",
    "tables",
    "score_range",
    "cores",
    "leftovers",
    "files",
    "surroundings",
    "growing",
    "groups",
    "csv_rows",
    "inputs",
    "pickles",
    "untrusted",
    "backbone",
    "hub_bundle",
    "bundle",
    "device",
]
RANK = {
    "media": 1,
    "features": 2, "heads": 2, "simulate": 2,
    "scoring": 3, "datasets": 3, "protocols": 3,
    "output": 4, "training": 4,
    "cli": 5,
}  # fmt: skip
ORDER = {
    "media": (
        "boxes ebml limits clock container mono crop picture orientation streams nal spare lanes pictures decode "
        "frame_rate sound_clock sound cutting clips encode sample"
    ).split(),
    "features": (
        "arrays rows statistics routine hub prompts int8 visual audio text_features text parallel reading apart "
        "extract store extractor cluster throughput"
    ).split(),
    "heads": (
        "dims layers noise base multimodal state_dicts mlavl visual exemplars soft_dtw svr lstm ms_lstm "
        "action_net usdl core gdlt tpt hgcn t2cr_layers t2cr cofinal qtd mlp_mixer pamfn_branch pamfn mcmoe "
        "methods published window checkpoint"
    ).split(),
    "heads/mlavl": "output losses s2ce length mag2 avcf dpg consistency model official".split(),
    "simulate": "style elements body recording music programme motion scene truth write collection".split(),
    "scoring": "measures shown result record moments domain interval points scorer alignment compare".split(),
    "datasets": (
        "layouts public rows dataset literature splits unpickle budget videos fs1000 logo manifest pickled load"
    ).split(),
    "protocols": ["words", "performance", "blocks", "match", "labels"],
    "output": ["formats", "json", "csv", "table", "webvtt", "plot", "report"],
    "output/report": (
        "rhythm glimpse html links scores lanes player notes page season side_by_side history index write"
    ).split(),
}


def imports(path: Path):
    """(line, module) of every import of the package, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mlavl_cli"):
            names = [node.module] if node.module != "mlavl_cli" else [f"mlavl_cli.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name) for name in names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("mlavl_cli"))


def place(parts: list[str]) -> tuple[int, float]:
    """(rank of the folder, place within it) of a module, the root of the package left out."""
    folder = parts[0]
    if folder in RANK:
        step, inner = step_in(folder, parts[1:2]), step_in("/".join(parts[:2]), parts[2:3])
        return RANK[folder], step if -1 in (step, inner) else step + (1 + inner) / 100
    return 0, GROUND.index(folder) if folder in GROUND else -1


def step_in(folder: str, name: list[str]) -> int:
    order = ORDER.get(folder, [])
    return order.index(name[0]) if name and name[0] in order else -1


def violations():
    for path in sorted(PACKAGE.rglob("*.py")):
        own = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if own[0] in ("__init__", "__main__") or own[-1] == "__init__":
            continue
        for line, module in imports(path):
            other = module.split(".")[1:]
            if not other or other == ["__version__"]:
                continue
            (rank, step), (its_rank, its_step) = place(own), place(other)
            if its_rank > rank or (its_rank == rank and other[0] != own[0] and rank):
                yield f"{'/'.join(own)}.py:{line} imports {module}, which is above it"
            elif own[0] == other[0] and -1 not in (step, its_step) and its_step >= step:
                yield f"{'/'.join(own)}.py:{line} imports {module}, a later step"
            elif rank == its_rank == 0 and -1 not in (step, its_step) and its_step >= step:
                yield f"{'/'.join(own)}.py:{line} imports {module}, a later one"


def test_imports_run_one_way():
    assert list(violations()) == []


def test_every_file_has_its_place():
    for folder, order in ORDER.items():
        files = {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}
        assert files <= set(order), f"{folder}: {files - set(order)} has no place in the order"


def test_the_head_knows_no_video_and_no_hub():
    for path in (PACKAGE / "heads").rglob("*.py"):
        text = path.read_text()
        assert "import av" not in text
        assert "transformers" not in text


def test_files_fit_on_three_screens():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 300, path


def functions():
    """(file, function) of the whole package, methods too."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_no_function_takes_more_than_eight_parameters_but_commands():
    for path, node in functions():
        if path.parent.name != "cli":
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert len([name for name in names if name not in ("self", "cls")]) <= 8, f"{path}: {node.name}"


def test_commands_parse_call_and_show_on_two_screens():
    for path, node in functions():
        if path.parent.name == "cli":
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or body[-1].end_lineno - body[0].lineno < 40, f"{path}: {node.name}"


def test_mlavl_is_one_method_among_others():
    """Its class is named by the public API, by the table of methods, and by the alignment, which is its own."""
    naming = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id == "MLAVL")
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "MLAVL" for alias in node.names))
    }
    assert {name for name in naming if not name.startswith("heads/mlavl/")} <= {"__init__.py", "training/align.py"}


def test_few_lists_of_words_stand_twice():
    """Typer takes literals, but for lists of them."""
    enums = [path for path in PACKAGE.rglob("*.py") for line in path.read_text().splitlines() if "(StrEnum)" in line]
    assert len(enums) <= 2
