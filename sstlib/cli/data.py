"""Data sets: what is there, fetching and unpacking, writing SST-Occlusion, packing submissions, the generator's
speed.
"""

import argparse
import functools
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

from sstlib.cli import _arguments
from sstlib.datasets import DATASETS, open_dataset

HELP = "list data sets, fetch or unpack them, write the occlusion benchmarks, pack a submission, time the generator"
EXAMPLES = """examples:
  sst data list                                             what is there, where, under which terms
  sst data fetch davis2017                                  from its makers, into where sst looks for it
  sst data fetch youtube2019 --zip train.zip --zip valid.zip                          zips from their page
  sst data occlusion --out SST-Occlusion --split test
  sst data submission youtube2019 masks --out masks.zip     for the server of YouTube-VOS
"""
SPLITS = ("train", "val", "test")  # of what is written


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    _arguments.close_with(parser, EXAMPLES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="which data sets are there, where, under which terms")
    _arguments.close_with(listed, "example:\n  sst data list\n")
    _configure_fetch(actions)
    _configure_submission(actions)
    _configure_made(actions)


def _configure_fetch(actions: Any) -> None:
    fetch = actions.add_parser("fetch", help="fetch a data set from its makers, or unpack zips already downloaded")
    fetch.add_argument("name", help=", ".join(name for name, one in DATASETS.items() if one.folder))
    _arguments.close_with(fetch, "example:\n  sst data fetch davis2017\n")
    fetched = fetch.add_argument_group("archives")
    fetched.add_argument("--zip", type=Path, action="append", default=[], metavar="FILE",
                         help="a zip already downloaded (repeat for several)")
    fetched.add_argument("--sha256", action="append", default=[], metavar="HEX",
                         help="expected checksum of each zip, in order")
    fetched.add_argument("--into", type=Path, metavar="DIR",
                         help="folder to unpack into (default: where sst looks for it)")


def _configure_submission(actions: Any) -> None:
    packed = actions.add_parser("submission",
                                help="check predicted masks and pack them into the zip that YouTube-VOS's server takes")
    packed.add_argument("name", help=" or ".join(_submitted()))
    packed.add_argument("masks", type=Path, help="folder with VIDEO/FRAME.png, as sst evaluate writes it")
    _arguments.close_with(packed, "example:\n  sst data submission youtube2019 masks --out masks.zip\n")
    frames = packed.add_argument_group("masks")
    frames.add_argument("--split", metavar="NAME", default="valid",
                        help="valid (default), test, or either with _all_frames")
    frames.add_argument("--folder", type=Path, metavar="DIR",
                        help="where the data set is (default: where sst looks for it)")
    frames.add_argument("--out", type=_arguments.new_file, required=True, metavar="ZIP", help="zip to write")
    frames.add_argument("--overwrite", action="store_true", help="replace the zip where there is one")


def _configure_made(actions: Any) -> None:
    manifest = actions.add_parser("manifest",
                                  help="render SST-Occlusion anew and write its manifest, the content of each clip")
    _arguments.close_with(manifest, "example:\n  sst data manifest --out manifest.json\n")
    result = manifest.add_argument_group("result")
    result.add_argument("--out", type=_arguments.new_file, required=True, metavar="FILE",
                        help="file to write; compare it with datasets/sst_occlusion.json")
    speed = actions.add_parser("speed", help="measure how fast clips are rendered")
    _arguments.close_with(speed, "example:\n  sst data speed --clips 4\n")
    measured = speed.add_argument_group("what is measured")
    measured.add_argument("--device", default="cpu", metavar="D", help="cpu or cuda (default: cpu, on one thread)")
    measured.add_argument("--clips", type=_arguments.whole(1, 10_000), default=4, metavar="N",
                          help="clips rendered in one call (default 4; on a GPU try 16)")
    measured.add_argument("--preset", default="small", metavar="CONFIG",
                          help="the training run whose batches are timed, too (default: small); its steps: sst train "
                               "--profile")
    measured.add_argument("--json", type=_arguments.new_file, metavar="FILE", help="also write the record to this file")
    titles = {"occlusion": "SST-Occlusion", "davis-occlusion": "DAVIS-Occlusion, of your own DAVIS 2016,"}
    for name, title in titles.items():
        write = actions.add_parser(name, help=f"write {title} in DAVIS layout")
        _arguments.close_with(write, f"example:\n  sst data {name} --out FOLDER --split test\n")
        clips = write.add_argument_group("clips")
        clips.add_argument("--out", type=_arguments.new_folder, required=True, metavar="DIR", help="folder to write")
        clips.add_argument("--split", action="append", choices=SPLITS,
                           help="only this split (default: all)")
        clips.add_argument("--processes", type=_arguments.threads, default=os.cpu_count() or 1, metavar="N",
                           help="processes to make clips with (default: one a core)")


def _submitted() -> list[str]:
    """The data sets whose predictions are submitted to a server."""
    return [name for name, one in DATASETS.items() if one.submitted]


def run(arguments: argparse.Namespace) -> int:
    """Carries out one of the actions."""
    actions = {
        "list": _list, "fetch": _fetch, "occlusion": _occlusion, "davis-occlusion": _occlusion, "manifest": _manifest,
        "submission": _submission, "speed": _speed
    }
    return actions[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    for name, source in DATASETS.items():
        print(name)
        missing: dict[str, str] = {}
        for split in source.splits:
            try:
                sequences = open_dataset(name, split)
                print(f"  {split}: {len(sequences)} sequences, {sum(map(len, sequences))} frames")
            except FileNotFoundError as error:
                missing[split] = str(error)
            except ValueError as error:
                print(f"  {split}: damaged ({error})")
        if missing:
            print(f"  not there: {', '.join(missing)} ({next(iter(missing.values()))})")
        print(f"  terms: {source.terms}" + (f"\n  from: {source.page}" if source.page else ""))
    _list_photographs()
    return 0


def _list_photographs() -> None:
    """Lists the photographs that training clips are composed of, which users bring, with terms of their own."""
    from sstlib.datasets.photographs import open_photographs

    print("photographs")
    try:
        photographs = open_photographs()
        print(f"  {len(photographs)} pictures with masks in {photographs.place}")
    except FileNotFoundError as error:
        print(f"  not there: {error}")
    except ValueError as error:
        print(f"  damaged ({error})")
    print("  terms: those of whoever made them; weights trained with them state them (see the cards)")


def _fetch(arguments: argparse.Namespace) -> int:
    from sstlib.config.values import require_place
    from sstlib.datasets import fetching
    from sstlib.paths.downloads import download, verified

    origin = DATASETS.find(arguments.name)
    if origin.folder is None:
        raise ValueError(f"{arguments.name} is not fetched: it is made when it is asked for")
    print(f"{arguments.name}: {origin.terms}\n{origin.page}")
    if not arguments.zip and not origin.urls:
        raise ValueError(
            f"{arguments.name} cannot be fetched without an account; download its zips there, name them by --zip"
        )
    wanted = len(arguments.zip) or len(origin.urls)
    if arguments.sha256 and len(arguments.sha256) != wanted:
        raise ValueError(f"{len(arguments.sha256)} checksums for {wanted} zips; give one for each, in order")
    folder = arguments.into or origin.folder
    require_place(folder, folder=True)
    for n in range(wanted):
        expected = arguments.sha256[n] if arguments.sha256 else None
        if arguments.zip:
            archive = arguments.zip[n]
            if archive.is_file():
                verified(archive, expected)
        else:
            archive = download(origin.urls[n], folder.parent / "archives", expected)
        print(f"{archive.name}: {fetching.unpack(archive, folder, origin.most)} files into {folder}")
    if lacking := _lacking(arguments.name, folder):
        print(f"note: nothing of {arguments.name} is in {folder} yet: {lacking}", file=sys.stderr)
    return 0


def _lacking(name: str, folder: Path) -> str:
    """What a folder lacks where no split of a data set is in it; "" where one is, be it damaged."""
    reasons = []
    for split in DATASETS.find(name).splits:
        try:
            open_dataset(name, split, folder)
            return ""
        except FileNotFoundError as error:
            reasons.append(str(error))
        except ValueError:
            return ""
    return reasons[0]


def _occlusion(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from sstlib.config.values import require_place
    from sstlib.datasets import davis_occlusion, sst_occlusion

    made = {"occlusion": sst_occlusion, "davis-occlusion": davis_occlusion}[arguments.action]

    _require_own(require_place(arguments.out, folder=True), made)
    splits = list(dict.fromkeys(arguments.split or SPLITS))
    sequences = [sequence for split in splits for sequence in made.clips(split)]
    write = functools.partial(made.write, arguments.out)
    workers = max(1, min(arguments.processes, len(sequences)))
    with multiprocessing.get_context("spawn").Pool(workers, _one_thread) as pool:
        for _ in tqdm(pool.imap_unordered(write, sequences), total=len(sequences), unit=" clips", file=sys.stderr):
            pass
    for split in splits:
        made.write_index(arguments.out, split)
        print(f"{split}: content {made.content_hash(split)}")
    print(f"{made.TITLE} version {made.VERSION}, {len(sequences)} clips in {arguments.out}")
    return 0


def _require_own(folder: Path, made: Any) -> None:
    """Raises a ValueError if a folder holds sequences of another data set, such as DAVIS, whose lists would be
    replaced.
    """
    others = {place.name for place in folder.glob("JPEGImages/*/*")}
    for split in SPLITS if others else ():
        others -= {sequence.name for sequence in made.clips(split)}
    if others:
        raise ValueError(f"{folder} holds sequences that are not of {made.TITLE} ({min(others)}"
                         f"{', ...' * (len(others) > 1)}), and its lists would be replaced; give another folder")


def _manifest(arguments: argparse.Namespace) -> int:
    from sstlib.datasets import sst_occlusion
    from sstlib.paths import refuse_inputs

    refuse_inputs({"--out": arguments.out}, [sst_occlusion.MANIFEST])
    sst_occlusion.write_manifest(arguments.out)
    print(f"{'the same as' if arguments.out.read_bytes() == sst_occlusion.MANIFEST.read_bytes() else 'other than'} "
          f"that of version {sst_occlusion.VERSION}: {arguments.out}")
    return 0


def _submission(arguments: argparse.Namespace) -> int:
    from sstlib.datasets import youtube
    from sstlib.paths import refuse_inputs, resolved

    if not DATASETS.find(arguments.name).submitted:
        raise ValueError(f"{arguments.name!r}: only {', '.join(_submitted())} are submitted")
    refuse_inputs({"--out": arguments.out}, [arguments.masks, *arguments.masks.glob("*/*")])
    _arguments.require_new("--out", arguments.out, arguments.overwrite)
    known = DATASETS.find(arguments.name)
    place = resolved(arguments.folder or known.folder or ".")
    if arguments.out.exists() and any(resolved(arguments.out).is_relative_to(place / split) for split in known.splits):
        raise ValueError(f"--out would replace {arguments.out}, a file of the data set; write elsewhere")
    sequences = open_dataset(arguments.name, arguments.split, arguments.folder)
    print(f"{youtube.write_submission(arguments.out, arguments.masks, sequences)} masks in {arguments.out}")
    return 0


def _speed(arguments: argparse.Namespace) -> int:
    from sstlib.benchmarks import rendering as speed
    from sstlib.config.presets import read_config
    from sstlib.paths import refuse_inputs, write_whole

    refuse_inputs({"--json": arguments.json}, [arguments.preset])
    device = _arguments.usable_device(arguments.device)
    record = speed.measure(read_config(arguments.preset), device, arguments.clips)
    text = json.dumps(record, indent=1)
    print(text)
    if arguments.json:
        write_whole(arguments.json, text + "\n")
    return 0


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
