"""Which command lives where. Each module is light to import and loads what is heavy when it runs."""

from __future__ import annotations

import typer

from cli import (
    audit_decontamination,
    compare,
    curate,
    demo,
    doctor,
    eval_,
    format_,
    label,
    merge,
    reward_code,
    reward_math,
    sample,
    schema,
    select,
    show,
    sources,
    train,
)


def register(app: typer.Typer) -> None:
    """Add every command to the app, in the order of the chain."""
    app.command("curate", epilog=curate.EXAMPLES)(curate.curate)
    app.command("select", epilog=select.EXAMPLES)(select.select)
    app.command("merge", epilog=merge.EXAMPLES)(merge.merge)
    app.command("sample", epilog=sample.EXAMPLES)(sample.sample)
    app.command("reward-math", epilog=reward_math.EXAMPLES)(reward_math.reward_math)
    app.command("reward-code", epilog=reward_code.EXAMPLES)(reward_code.reward_code)
    app.command("label", epilog=label.EXAMPLES)(label.label)
    app.add_typer(format_.app, name="format")
    app.add_typer(train.app, name="train")
    app.command("eval", epilog=eval_.EXAMPLES)(eval_.eval_)
    app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
    app.command("audit-decontamination", epilog=audit_decontamination.EXAMPLES)(
        audit_decontamination.audit_decontamination
    )
    app.command("show", epilog=show.EXAMPLES)(show.show)
    app.command("sources", epilog=sources.EXAMPLES)(sources.sources)
    app.command("schema", epilog=schema.EXAMPLES)(schema.schema)
    app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
    app.command("demo", epilog=demo.EXAMPLES)(demo.demo)
