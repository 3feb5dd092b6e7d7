"""The report: one self-contained HTML page with its figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ffstream.experiments.deprivation.plan import Plan
from ffstream.experiments.deprivation.summary import Outcome, recovery, table
from ffstream.measuring.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ffstream.experiments.deprivation.figures import Picture

STYLE = """
body { font: 16px/1.5 Georgia, serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #111; }
h1, h2 { font-weight: normal; line-height: 1.2; }
figure { margin: 2rem 0; }
img { width: 100%; }
figcaption, table, footer { font-size: 0.85rem; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: 0.2rem 0.5rem; text-align: right; border-bottom: 1px solid #ddd; }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left; }
code, pre { font-size: 0.85rem; background: #f4f4f4; white-space: pre-wrap; }
"""


def write(
    plan: Plan,
    found: Sequence[Outcome],
    pictures: Mapping[str, Picture],
    command: str,
    environment: Mapping[str, Any],
    note: str = "",
) -> str:
    """Return the page.

    Parameters
    ----------
    plan
        Plan that was carried out.
    found
        Outcomes of its arms.
    pictures
        Figures by name, as ``figures.all_of`` makes them.
    command
        Command that made them.
    environment
        Device, threads and versions that the figures depend on.
    note
        Note that a reader must see first.
    """
    captions = _captions(plan, found)
    drawn = "".join(
        f'<figure><img alt="{escape(picture.alt)}" src="data:image/svg+xml;base64,{_encoded(picture.figure)}">'
        f"<figcaption><b>Figure {number}.</b> {captions[name]}</figcaption></figure>\n"
        for number, (name, picture) in enumerate(pictures.items(), start=1)
    )
    told = ", ".join(f"{key} {value}" for key, value in environment.items() if value is not None)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Sleep deprivation on {escape(plan.dataset)}'
        f"</title>\n<style>{STYLE}</style>\n<h1>Sleep deprivation on {escape(plan.dataset)}</h1>\n"
        f"{f'<p><b>{escape(note.capitalize())}.</b></p>' if note else ''}\n"
        f"<p>{' '.join(results(plan, found))}</p>\n<h2>What was done</h2>\n<p>{_methods(plan)}</p>\n{_arms(plan)}"
        f"<h2>What came of it</h2>\n{_table(table(found))}<p>{_columns(plan)}</p>\n{drawn}"
        f"<footer><p>Made by</p><pre>{escape(command)}</pre><p>{escape(told)}</p></footer></html>\n"
    )


def results(plan: Plan, found: Sequence[Outcome]) -> list[str]:
    """Return the main figures of each recipe as text."""
    said = []
    for name, recipe in plan.recipes.items():
        deprived = [one for one in found if one.recipe == name and one.do == "deprived"]
        if not deprived:
            continue
        worst = max(deprived, key=lambda one: one.dose)
        lost = Estimate.of(worst.deficit)
        gained = Estimate.of(worst.false_accepts_gained)
        accepts = Estimate.of(worst.after["false_accepts"], 100)
        said.append(
            f"<b>{escape(recipe.title)}</b>: after {worst.dose:,} batches without sleep the network has lost "
            f"{_points(lost)} of test accuracy against the rested one ({_verdict(lost)}). It calls "
            f"{accepts.mean:.2f} % of the wrong labels real, {_points(gained)} more than the rested one"
            f"{f' ({gained.without_interval})' if gained.without_interval else ''}. Sleep steps of naps until accuracy "
            f"is back within {plan.margin:g} points: {recovery(worst.recovery_steps)}; until false accepts are: "
            f"{recovery(worst.accepts_recovery_steps)}."
        )
    return said


def _points(estimate: Estimate) -> str:
    """Format points, with their interval if there is one."""
    return (
        f"{estimate.mean:+.2f} points"
        if estimate.without_interval
        else f"{estimate.with_interval(2, signed=True)} points"
    )


def _verdict(lost: Estimate) -> str:
    """Return in words whether the interval tells the effect from chance."""
    if lost.half is None:
        return str(lost.without_interval)
    if lost.mean - lost.half > 0:
        return "deprivation costs accuracy"
    if lost.mean + lost.half < 0:
        return "deprivation gains accuracy"
    return "no effect on accuracy that the interval tells from none"


def _methods(plan: Plan) -> str:
    recipes = "; ".join(
        f"<b>{escape(name)}</b>, {escape(recipe.title)} (layers {[layer.units for layer in recipe.network.stack]}, "
        f"rule {recipe.optimizer.rule} at {recipe.optimizer.rate}, {recipe.phases.wake_steps} steps awake, then "
        f"{recipe.phases.sleep_steps} asleep)"
        for name, recipe in plan.recipes.items()
    )
    return (
        f"Recipes: {recipes}. Each was born with {_seeds(plan)}, which set the weights, the order of the stream "
        f"and every draw, and lived {plan.warm_up:,} batches of {plan.batch} samples of {escape(plan.dataset)} with "
        "its naps. A copy of that network began every arm, and all arms of a seed saw the same samples in the same "
        "order. The first segment of an arm is the manipulation, what follows is recovery. Differences are between an "
        "arm and the rested one of the same seed after as many batches. ± is a 95 % interval of the mean over "
        "seeds (Student's t). Where there is one seed, or the seeds are equal to the digit (“2 equal”), no interval "
        "can be given. Test images were never learned."
    )


def _arms(plan: Plan) -> str:
    rows = [
        {
            "arm": name,
            "what": arm.title,
            "timeline": ", then ".join(
                f"{part.do} {part.steps:,}" + (f" ({part.naps:g} of the naps)" if part.naps else "")
                for part in arm.timeline
            ),
        }
        for name, arm in plan.arms.items()
    ]
    return _table(rows)


def _columns(plan: Plan) -> str:
    return (
        "Accuracy, d′ and false accepts are those at the end of the manipulation. Points lost: rested less arm. d′: "
        "distance of the goodness of the true label from that of the most believed wrong one, in standard deviations. "
        "False accepts: share of all wrong labels whose mean goodness over layers is above the threshold, p &gt; 1/2. "
        f"Sleep steps to recover: until test accuracy is first within {plan.margin:g} points of the rested arm, and "
        "until false accepts are; lowest – highest over seeds."
    )


def _captions(plan: Plan, found: Sequence[Outcome]) -> dict[str, str]:
    n = f"{_seeds(plan).capitalize()}: the mean; whiskers are 95 % intervals (Student's t), where one can be given."
    cut = " A whisker that is longer than the axis is cut."
    if plan.seeds == 1:
        n, cut = "One seed, and so no interval.", ""
    course = (
        f"{n}{cut} Thick: the manipulation, with a whisker at its end; thin: recovery; colour: what the manipulation "
        "is. The axis counts learning steps, awake and asleep, since the copy was made."
    )
    doses = _doses(found, "deficit")
    accepts = _doses(found, "false_accepts_gained")
    return {
        "dose-response": f"Test accuracy lost at the end of the manipulation, by its length. {n} Grey: within "
        f"{plan.margin:g} points. Without sleep: {doses}.",
        "accuracy": f"Test accuracy over time, through manipulation and recovery. {course}",
        "recovery": f"What is still lost, by the sleep steps of the recovery; mean of {_seeds(plan)}. "
        f"Full: naps again; dotted: nothing but sleep. Grey: within {plan.margin:g} points.",
        "false-accepts-by-dose": f"Wrong labels called real, points more than in the rested arm, by the length of the "
        f"manipulation. {n} Without sleep: {accepts}.",
        "false-accepts": f"Share of all wrong labels that are called real (p &gt; 1/2), over time. {course}",
        "d-prime": f"How far the goodness of the true label lies from that of the most believed wrong one. {course}",
        "goodness": "Mean goodness of the most believed wrong label of each test image; the threshold is "
        f"{', '.join(f'{recipe.threshold:g}' for recipe in plan.recipes.values())}. {course}",
        "calibration": f"Distance of confidence from accuracy (expected calibration error, 15 bins). {course}",
        "dreams": f"Mean goodness of what the network dreams, under the label that it dreams of. {course}",
        "weights": f"Frobenius norm of the weights, mean over layers. {course}",
    }


def _doses(found: Sequence[Outcome], what: str) -> str:
    said = []
    for recipe in dict.fromkeys(one.recipe for one in found):
        doses = {one.dose: one for one in found if one.recipe == recipe and one.do == "deprived"}
        each = ", ".join(
            f"{dose:,} batches {Estimate.of(getattr(doses[dose], what)).with_interval(2, signed=True)}"
            for dose in sorted(doses)
        )
        said.append(f"{escape(recipe)}: {each or 'not measured'}")
    return "; ".join(said)


def _seeds(plan: Plan) -> str:
    return f"{plan.seeds} seed{'s' if plan.seeds > 1 else ''}"


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in rows[0])
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row.values())}</tr>\n" for row in rows)
    return f"<table><tr>{head}</tr>\n{lines}</table>\n"


def _encoded(figure: Figure) -> str:
    written = io.BytesIO()
    figure.savefig(written, format="svg")
    return base64.b64encode(written.getvalue()).decode()
