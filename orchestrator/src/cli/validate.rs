//! `atoll validate`: is the file sound, and what would it run?

use clap::Args;

use super::{Answer, Changes, experiment_help, print};
use crate::error::Result;
use crate::plan::{Clock, Plan, Point};
use crate::report::table::{Colours, table};
use crate::run::draw;

/// Arguments of `atoll validate`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[arg(value_name = "NAME|FILE", help = experiment_help())]
    experiment: String,
    #[command(flatten)]
    changes: Changes,
}

/// Checks the file down to the drawn Internet of each point.
///
/// # Errors
/// What is wrong with it.
pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let plan = Plan::load(&arguments.experiment, &arguments.changes.overrides(Clock::Virtual))?;
    for turn in plan.turns().into_iter().step_by(plan.repeats as usize) {
        draw(&plan.points[turn.point].values, turn)?;
    }
    let mut rows = table(&["key", "value"], Colours::Off);
    for (key, name) in plan.experiment.keys() {
        let mut values: Vec<String> = Vec::new();
        for value in plan.points.iter().map(|point| point.values.show(key)) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        rows.add_row([name.to_owned(), values.join(", ")]);
    }
    let trials = plan.turns().len();
    let values: Vec<_> = plan.points.iter().map(Point::texts).collect();
    let applying = plan.expect.iter().filter(|line| values.iter().any(|values| line.applies(values))).count();
    print(&format!(
        "{rows}\n{} is sound: experiment {}, {} point(s) x {} repeat(s) = {trials} trial(s), seed {}, \
         {applying} of {} expectation(s) apply\n",
        arguments.experiment,
        plan.experiment.name(),
        plan.points.len(),
        plan.repeats,
        plan.seed,
        plan.expect.len()
    ))?;
    Ok(Answer::Yes)
}
