"""`locara-label fiftyone`: the plugin for FiftyOne, and results of jobs for its data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from locara_label.cli.output import EXIT_OK, EXIT_PARTIAL, emit, json_option, note
from locara_label.cli.progress_bar import Bar

if TYPE_CHECKING:
    from locara_label.hosts.fiftyone.install import Folders

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def fiftyone() -> None:
    """Install the plugin for FiftyOne, load results into its data sets."""


@fiftyone.command("install")
@click.option("--plugins", type=_FOLDER, help="FiftyOne's folder of plugins. [default: as FiftyOne is configured]")
@click.option("--zoo", type=_FOLDER, help="FiftyOne's folder of zoo models. [default: as FiftyOne is configured]")
@click.option("--link/--copy", default=False, show_default=True, help="Link to the plugin's source, to change it in place.")
@json_option
def install_plugin(plugins: Path | None, zoo: Path | None, *, link: bool, as_json: bool) -> None:
    """Put the plugin and the source of zoo models where FiftyOne finds them. A running App needs a restart."""
    from locara_label.hosts.fiftyone import install

    made = install.install(_folders(plugins, zoo), link=link)
    if install.installed_version() is None:
        note("note: FiftyOne is not installed in this environment; the plugin needs both in one")
    result = {"installed": [str(path) for path in made], "fiftyone": install.installed_version()}
    emit(result, [f"installed {path}" for path in made], as_json=as_json)


@fiftyone.command("remove")
@click.option("--plugins", type=_FOLDER, help="As in `install`.")
@click.option("--zoo", type=_FOLDER, help="As in `install`.")
@json_option
def remove_plugin(plugins: Path | None, zoo: Path | None, *, as_json: bool) -> None:
    """Take away what `install` put there; downloaded weights stay."""
    from locara_label.hosts.fiftyone import install

    gone = install.remove(_folders(plugins, zoo))
    lines = [f"removed {path}" for path in gone] or ["nothing was installed"]
    emit({"removed": [str(path) for path in gone]}, lines, as_json=as_json)


@fiftyone.command("load")
@click.argument("results")
@click.argument("dataset")
@click.option(
    "--root", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Folder of the pictures."
)
@click.option("--field", default="prelabels", show_default=True, help="Of the labels; is replaced.")
@click.option("--labels", "map_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="As in `prelabel`.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal only.")
@json_option
def load_results(
    results: str, dataset: str, root: Path, field: str, map_file: Path | None, *, progress: bool | None, as_json: bool
) -> int:
    """Load what `prelabel --out RESULTS` made into a data set, which is made if it is not there.

    The same command goes on with a load that was interrupted. Exits with 3 when pictures have no labels.
    """
    from locara_label.batch.buckets import place
    from locara_label.batch.labels import read_map
    from locara_label.hosts.fiftyone import check_installed

    check_installed()
    from locara_label.hosts.fiftyone.bulk import Loaded, load, opened

    label_map = read_map(map_file) if map_file else None
    slices: list[Loaded] = []
    with Bar("pictures", wanted=progress) as bar:
        for one in load(opened(dataset), place(results), field, root=root, label_map=label_map):
            bar.show(one.done, one.total)
            slices.append(one)
    problems = [problem for one in slices for problem in one.problems]
    result = {
        "dataset": dataset,
        "field": field,
        "pictures": slices[-1].total if slices else 0,
        "added": sum(one.added for one in slices),
        "regions": sum(one.regions for one in slices),
        "problems": [{"file_name": name, "reason": reason} for name, reason in problems],
    }
    lines = [f"{result['regions']} regions, {result['added']} new samples in the field {field} of {dataset}"]
    lines += [f"{name}: {reason}" for name, reason in problems[:5]]
    emit(result, lines if slices else [f"{results} is in {dataset} already"], as_json=as_json)
    return EXIT_PARTIAL if problems else EXIT_OK


def _folders(plugins: Path | None, zoo: Path | None) -> Folders:
    from locara_label.hosts.fiftyone.install import Folders, folders

    if plugins is not None and zoo is not None:
        return Folders(plugins, zoo)
    known = folders()
    return Folders(plugins or known.plugins, zoo or known.zoo)
