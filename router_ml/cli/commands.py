"""Every command, in the order in which `--help` lists them."""

from __future__ import annotations

import typer

from router_ml.cli import (
    bench,
    catalog,
    check,
    classify,
    conformance,
    drift,
    evaluate,
    info,
    label,
    litellm_config,
    merge,
    outcomes,
    replay,
    route,
    sample,
    serve,
    thresholds,
    train,
    unseen,
)

app = typer.Typer(
    help="Decide which LLM gets a request, before it is sent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.command()(route.route)
app.command()(classify.classify)
app.command(cls=evaluate.JsonToFile)(evaluate.evaluate)
app.command(cls=train.ExtendShipped)(train.train)
app.command()(check.check)
app.command()(unseen.unseen)
app.command()(sample.sample)
app.command()(label.label)
app.command()(merge.merge)
app.command()(thresholds.thresholds)
app.command()(outcomes.outcomes)
app.command()(replay.replay)
app.command()(drift.drift)
app.command()(bench.bench)
app.command()(catalog.catalog)
app.command()(info.info)
app.command()(serve.serve)
app.command()(conformance.conformance)
app.command()(litellm_config.litellm_config)
