//! Mistakes on the command line, in the form of every other error.

use clap::error::ErrorKind;
use clap::{Command, Error as Mistake};

use crate::failure::Failure;

/// What is wrong with the command line; `None` if help or the version was asked for.
pub(super) fn explain(mistake: &Mistake, command: &Command) -> Option<Failure> {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(mistake.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion) {
        return None;
    }
    let what = spoken_to(command, std::env::args().skip(1));
    let (why, hint) = take_apart(&mistake.render().to_string());
    let help = || format!("`{what} --help` shows what may be written");
    Some(Failure::new(what.clone(), why).hint(hint.unwrap_or_else(help)))
}

/// The program with the verb that was given to it.
fn spoken_to(command: &Command, mut words: impl Iterator<Item = String>) -> String {
    let mut name = command.get_name().to_owned();
    let mut command = command;
    while let Some(verb) = words.find_map(|word| command.find_subcommand(word)) {
        name = format!("{name} {}", verb.get_name());
        command = verb;
    }
    name
}

/// Splits clap's text into its sentence and what it or one of our own parsers advises.
fn take_apart(text: &str) -> (String, Option<String>) {
    let mut lines = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let mut why = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let mut hints = Vec::new();
    for line in lines.map(str::trim).filter(|line| !line.is_empty()) {
        let values = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        match line.strip_prefix("hint: ").or_else(|| line.strip_prefix("tip: ")).or(values) {
            // Nobody who mistypes a flag means it as a value.
            Some(hint) if hint.starts_with("to pass ") => {}
            Some(hint) => hints.push(hint.to_owned()),
            None if line.starts_with("For more information") => {}
            None => why += &format!(" {line}"),
        }
    }
    (why, (!hints.is_empty()).then(|| hints.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_told_from_advice() {
        for (text, why, hint) in [
            (
                "error: unexpected argument '--sed' found\n\n  tip: a similar argument exists: '--seed'\n\n\
                 Usage: x\n\nFor more information, try '--help'.\n",
                "unexpected argument '--sed' found",
                Some("a similar argument exists: '--seed'"),
            ),
            (
                "error: unexpected argument '--x' found\n\n  tip: to pass '--x' as a value, use '-- --x'\n\nUsage: x\n",
                "unexpected argument '--x' found",
                None,
            ),
            (
                "error: the following required arguments were not provided:\n  <FILE>\n\nUsage: x <FILE>\n",
                "the following required arguments were not provided: <FILE>",
                None,
            ),
            (
                "error: invalid value 'a' for '--b <B>'\n  [possible values: c, d]\n\n  tip: perhaps 'c'\n",
                "invalid value 'a' for '--b <B>'",
                Some("possible values: c, d; perhaps 'c'"),
            ),
            (
                "error: invalid value 'a' for '--b <B>': too short\nhint: write more\n\nFor more information, \
                 try '--help'.\n",
                "invalid value 'a' for '--b <B>': too short",
                Some("write more"),
            ),
        ] {
            assert_eq!(take_apart(text), (why.to_owned(), hint.map(str::to_owned)));
        }
    }

    #[test]
    fn the_verb_is_named_wherever_it_stands() {
        let deep = Command::new("cert").subcommand(Command::new("issue"));
        let command = Command::new("x").subcommand(Command::new("run")).subcommand(deep);
        let name = |words: &[&str]| spoken_to(&command, words.iter().map(|word| (*word).to_owned()));
        assert_eq!(name(&["--loud", "run", "--sed"]), "x run");
        assert_eq!(name(&["rnu"]), "x");
        assert_eq!(name(&["cert", "--x", "issue", "run"]), "x cert issue");
    }
}
