"""`edgecnn bench`: latency, memory and accuracy of exported files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli.names import complete_device, complete_runtimes, complete_suite, complete_target
from edgecnn.cli.results import print_changes, print_results
from edgecnn.cli.sections import Command, option
from edgecnn.cli.shared import (
    common,
    data_options,
    is_standard_output,
    parse_cores,
    parse_numbers,
    print_json,
    showing_progress,
    tables,
    task_options,
)
from edgecnn.cli.table import say, warn
from edgecnn.errors import EdgecnnError
from edgecnn.measurement import Measurement, read_measurements
from edgecnn.units import parse_share

if TYPE_CHECKING:
    from edgecnn.benchmarks.changes import Change
    from edgecnn.benchmarks.suite import Suite
    from edgecnn.datasets import DataSource
    from edgecnn.evaluate.choice import TaskChoice

SLOWER = 4  # the exit code of a regression


@click.command("bench", cls=Command)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@option(
    "--device",
    metavar="NAME",
    shell_complete=complete_device,
    default_text="host",
    section="Device",
    help="Device to report for.",
)
@option(
    "--target",
    metavar="TARGET",
    shell_complete=complete_target,
    default_text="the target tied to the device",
    section="Device",
    help="Where to run: local, ssh://user@host, adb:SERIAL or emulated.",
)
@option(
    "--cores",
    metavar="NAME",
    default_text="the first kind of cores with figures",
    section="Device",
    help="Estimate for threads on these cores only, for example Cortex-A55.",
)
@option("--yes", is_flag=True, section="Device", help="Build the emulated board without asking, if it is missing.")
@option(
    "--install",
    is_flag=True,
    section="Device",
    help="Install a missing runtime on the target, in a folder of edgecnn's own.",
)
@option(
    "--suite",
    metavar="NAME",
    shell_complete=complete_suite,
    section="Measurement",
    help="What to measure: a shipped suite or a TOML file.",
)
@option(
    "--runtime",
    default="",
    metavar="NAME,NAME",
    shell_complete=complete_runtimes,
    default_text="the usual runtime of each file",
    section="Measurement",
    help="Runtimes to measure: litert, onnxruntime, openvino.",
)
@option(
    "--threads",
    metavar="N,N",
    callback=parse_numbers,
    default_text="1",
    section="Measurement",
    help="Numbers of threads to measure, for example 1,2,4.",
)
@option(
    "--processes",
    type=click.IntRange(min=1),
    metavar="N",
    default_text="3; 9 with --against",
    section="Measurement",
    help="Worker processes for each result.",
)
@option(
    "--min-time",
    type=click.FloatRange(min=0, max=3600),
    metavar="SECONDS",
    default_text="1",
    section="Measurement",
    help="Measure for at least this long in each process.",
)
@option(
    "--cpus",
    metavar="N,N",
    callback=parse_cores,
    default_text="all",
    section="Measurement",
    help="Run on these cores only, for example 0-3 or 4,5.",
)
@option(
    "--cool-down",
    type=click.FloatRange(min=0, max=3600),
    metavar="SECONDS",
    section="Measurement",
    help="If the board throttles, wait this long and repeat the process, up to three times.",
)
@option(
    "--profile",
    is_flag=True,
    section="Measurement",
    help="Show the time of each operator, by the runtime's own profiler; an int8 file beside its float file.",
)
@option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="FILE",
    section="Comparison",
    help="Compare with this earlier result (written with -o). On hosted CI use --target emulated, which counts "
    "instructions: latencies of such machines differ from run to run.",
)
@option(
    "--tolerance",
    metavar="PERCENT",
    default="5%",
    section="Comparison",
    help="Ignore changes in latency up to this.",
)
@data_options
@task_options
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    section="Output",
    help="Write the results as JSON to this file; - is standard output, as with --json.",
)
@tables
@common
def command(
    files: Sequence[Path],
    suite: str | None,
    device: str | None,
    target: str | None,
    cores: str | None,
    yes: bool,
    install: bool,
    runtime: str,
    threads: tuple[int, ...],
    processes: int | None,
    min_time: float | None,
    cpus: tuple[int, ...],
    cool_down: float | None,
    profile: bool,
    against: Path | None,
    tolerance: str,
    source: DataSource,
    task: TaskChoice,
    output: Path | None,
    as_json: bool,
) -> int:
    """Measure latency, memory and the score of exported files.

    Each file runs in worker processes of its own. Results measured before an error or Ctrl-C are still shown and
    written. Options given here override the suite. If the board of --device is not connected and --target is missing,
    the latency is estimated and the memory checked; scores are measured on this machine. A score is that of the task,
    top-1 accuracy for a classifier, with its 95 % interval.

    With --against the exit code is 4 if a file became slower by more than --tolerance. If the earlier result lacks a
    file or was measured under other conditions, nothing is measured. Latencies of hosted CI machines cannot be compared
    from run to run: use --target emulated there, which counts the instructions of a call.

    \b
    Example:
      edgecnn bench out/m.w8a8.tflite out/m.fp32.onnx --data digits
      edgecnn bench out/m.w8a8.tflite --threads 1,2,4 --json -o results.json
      edgecnn bench theirs.tflite --data cifar10 --normalize pixels
      edgecnn bench out/det.w8a8.tflite --data coco:DIR --decode yolov8
      edgecnn bench out/m.w8a8.tflite --device rpi4 --target ssh://pi@raspberrypi.local
      edgecnn bench out/m.w8a8.tflite --device rpi4 --target emulated --data digits
      edgecnn bench --suite regression out/m.w8a8.tflite --against before.json
      edgecnn bench out/m.w8a8.tflite --device rpi4 --target emulated --yes --against before.json
      edgecnn bench out/m.w8a8.tflite --device rpi4
      edgecnn bench out/m.w8a8.tflite out/m.fp32.tflite --profile
    """
    from edgecnn.benchmarks.changes import COMPARED_PROCESSES
    from edgecnn.benchmarks.predict import has_target
    from edgecnn.benchmarks.suite import Suite, check_against, load_suite, with_given
    from edgecnn.files import check_writable

    if output is not None and is_standard_output(output):
        output, as_json = None, True
    if output is not None:
        check_writable(output)
    runtimes = [name.strip() for name in runtime.split(",") if name.strip()]
    if profile:
        if suite is not None or against is not None or source.data is not None:
            raise EdgecnnError("--profile takes neither --suite, --against nor --data")
        show_profile(files, device, target, runtimes, threads, min_time, cpus, output, as_json)
        return 0
    if device is not None and suite is None and target is None and against is None and not has_target(device):
        show_predictions(files, device, source, task, runtimes, threads, cores, output, as_json)
        return 0
    if cores is not None:
        raise EdgecnnError("--cores is for estimates, with the --device of a board that is not connected: use --cpus")
    plan = with_given(
        Suite(files=tuple(map(str, files))) if suite is None else load_suite(suite, files),
        device=device,
        target=target,
        runtimes=runtimes,
        threads=threads,
        processes=processes,
        min_time_s=min_time,
        cpus=cpus,
        cool_down_s=cool_down,
    )
    earlier, tolerated = None if against is None else read_measurements(against), parse_share(tolerance)
    if earlier is not None and processes is None:
        plan = with_given(plan, processes=max(plan.effort.processes, COMPARED_PROCESSES))
    if against is not None and output is not None and against.resolve() == output.resolve():
        raise EdgecnnError(f"-o would overwrite {against}, which --against compares with; write to another file")
    if earlier is not None:
        check_against(plan, earlier)
    prepare_boards(plan, source, task, agreed=yes)
    changes = show_measurements(plan, source, task, earlier, tolerated, output, install=install, as_json=as_json)
    return SLOWER if any(change.verdict == "slower" for change in changes) else 0


def show_predictions(
    files: Sequence[Path],
    device: str,
    source: DataSource,
    task: TaskChoice,
    runtimes: Sequence[str],
    threads: Sequence[int],
    cores: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Estimate *files* on a *device* that is not at hand, take their scores here, and show both."""
    from edgecnn.benchmarks.plan import evaluating
    from edgecnn.benchmarks.predict import predict_files
    from edgecnn.cli.estimates import show_estimates

    with showing_progress() as progress:
        evaluate = evaluating(source, task=task, progress=progress)
        predicted = predict_files(files, device, runtimes=runtimes, threads=threads, cores=cores, evaluate=evaluate)
    show_estimates(device, predicted, output, as_json)  # after the progress, which has standard output


def prepare_boards(plan: Suite, source: DataSource, task: TaskChoice, *, agreed: bool) -> None:
    """See that the emulated board is built where *plan* measures on one; *agreed*: without asking."""
    from edgecnn.benchmarks.suite import check_suite
    from edgecnn.device import HOST
    from edgecnn.targets import target_of

    places = [plan.targets.get(name) or target_of(name) for name in plan.devices if name != HOST]
    if any(name.partition(":")[0] == "emulated" for name in places):
        from edgecnn.cli.board import prepare_board

        prepare_board(partial(check_suite, plan, data=source, task=task), agreed=agreed)


def show_measurements(
    plan: Suite,
    source: DataSource,
    task: TaskChoice,
    earlier: Sequence[Measurement] | None,
    tolerated: float,
    output: Path | None,
    *,
    install: bool,
    as_json: bool,
) -> list[Change]:
    """Measure *plan*, write each result to *output* as soon as it is taken, and show all, also after an error.

    Returns:
        The changes against *earlier* results; none without them.
    """
    from edgecnn.benchmarks.changes import find_change
    from edgecnn.benchmarks.choice import choose, with_choices
    from edgecnn.benchmarks.history import keeping_history
    from edgecnn.benchmarks.plan import left_out
    from edgecnn.benchmarks.suite import measure_suite
    from edgecnn.files import write_whole

    results: list[Measurement] = []
    changes: list[Change] = []

    def document() -> dict[str, Any]:
        more = {} if earlier is None else {"changes": [change.to_json() for change in changes]}
        return with_choices(results) | more

    try:
        with showing_progress() as progress:
            taken = measure_suite(plan, data=source, task=task, install=install, progress=progress)
            for measurement in keeping_history(taken, warn):
                results.append(measurement)
                if earlier is not None:
                    changes.append(find_change(measurement, earlier, tolerated))
                if output is not None:
                    write_whole(output, json.dumps(document(), indent=1) + "\n")
    finally:
        for sentence in left_out(results, plan.runtimes):
            warn(sentence)
        if results and as_json:
            print_json(document())
        elif results:
            print_results(results)
            print_changes(changes)
            for choice in choose(results):
                say(str(choice))
    return changes


def show_profile(
    files: Sequence[Path],
    device: str | None,
    target: str | None,
    runtimes: Sequence[str],
    threads: Sequence[int],
    min_time: float | None,
    cpus: tuple[int, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Profile *files*, each in each of *runtimes* and with each number of *threads*, and show what came out."""
    from edgecnn.benchmarks.measure import BenchmarkConfig
    from edgecnn.benchmarks.profile import check_profilable, profile_file, with_float_files
    from edgecnn.cli.profiles import show_profiles
    from edgecnn.device import HOST

    check_profilable(files)
    effort = BenchmarkConfig(cpus=cpus) if min_time is None else BenchmarkConfig(cpus=cpus, min_time_s=min_time)
    profiles = []
    with showing_progress() as progress:
        for file in with_float_files(files):
            for runtime in runtimes or (None,):
                for count in threads or (1,):
                    taken = profile_file(
                        file,
                        runtime=runtime,
                        threads=count,
                        device=device or HOST,
                        target=target or "local",
                        effort=effort,
                        progress=progress,
                    )
                    profiles.append(taken)
    show_profiles(profiles, output, as_json)
