"""`mqstore repair`: the way out when a broker refuses a store; shows what it would do until told to do it."""

from __future__ import annotations

import click

from rocketmq_tx.cli.store_opening import EXIT_CLEAN, EXIT_DAMAGE, bytes_progress, of_a_store_config
from rocketmq_tx.cli.store_opening import log_directories as directories_of
from rocketmq_tx.config.store import MessageStoreConfig
from rocketmq_tx.store.os_disk import platform_disk
from rocketmq_tx.store.read_only_disk import ReadOnlyDisk
from rocketmq_tx.store.repair import RepairPlan, bytes_to_copy, plan_repair
from rocketmq_tx.store.repair import repair as repair_store


@click.command("repair")
@click.option("--do", "is_done", is_flag=True, help="Do it; without this it is only shown.")
@of_a_store_config
def repair(config: MessageStoreConfig, is_done: bool) -> int:
    """Set aside what keeps a broker from opening the store, and fill gaps.

    Nothing is deleted. Messages that are not in a gap keep their places and numbers. Takes the store's lock,
    so no broker may have it open.
    """
    directories = directories_of(config)
    plan = plan_repair(
        ReadOnlyDisk(), config.store_path_root_dir, directories, config.mapped_file_size_commit_log
    )
    if not plan.actions:
        click.echo("nothing keeps a broker from opening this store; see verify for the rest")
        return EXIT_CLEAN
    say_plan(plan)
    if not is_done:
        click.echo("nothing was changed: give --do to do it")
        return EXIT_DAMAGE
    disk = platform_disk()
    with bytes_progress("copying", bytes_to_copy(disk, plan)) as (progress, task):
        aside = repair_store(disk, plan, lambda count: progress.advance(task, count))
    for path in aside:
        click.echo(f"kept: {path}")
    click.echo("done")
    return EXIT_CLEAN


def say_plan(plan: RepairPlan) -> None:
    """A line for each step and each loss."""
    for action in plan.actions:
        click.echo(f"{action.step.value}: {action.path}: {action.reason}")
    for start, end in plan.lost:
        click.echo(f"lost: what the commit log had from {start} to {end}")
