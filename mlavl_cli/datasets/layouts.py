"""How labelled routines lie on disk, by name: what `mlavl train` and `mlavl evaluate` take."""

FOLDERS = {  # module:function, which reads such a folder
    "fs1000": "mlavl_cli.datasets.fs1000:load_fs1000",
    "fisv": "mlavl_cli.datasets.pickled:load_fisv",
    "rg": "mlavl_cli.datasets.pickled:load_rg",
    "logo": "mlavl_cli.datasets.logo:load_logo",
}
TABLES = ("manifest", "simulated")  # csv of a user's own, or of `mlavl synthesize`
