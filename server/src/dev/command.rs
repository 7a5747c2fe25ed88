//! What may be typed while the nodes run.

use consensus::{NodeId, Protocol};

use super::config::{DevConfig, NodeName};

/// Everything that may be typed.
pub(super) fn help(config: &DevConfig) -> String {
    let node = example(config);
    format!(
        "\
stop {node}    stop one node, cleanly; the others notice and go on without it
start {node}   start it again, from its own directory
status         show all nodes
help           show this
quit           stop everything, as Ctrl-C does"
    )
}

/// Something typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Stop(NodeName),
    Start(NodeName),
    Status,
    Help,
    Quit,
}

/// What a line says; nothing if it is blank.
///
/// # Errors
/// What is wrong and what is allowed.
pub(super) fn parse(line: &str, config: &DevConfig) -> Result<Option<Command>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let command = match words[..] {
        [] => return Ok(None),
        ["stop", ref name @ ..] => Command::Stop(parse_name("stop", name, config)?),
        ["start", ref name @ ..] => Command::Start(parse_name("start", name, config)?),
        ["status"] => Command::Status,
        ["help" | "?"] => Command::Help,
        ["quit" | "exit"] => Command::Quit,
        _ => {
            let example = example(config);
            return Err(format!(
                "`{}` is no command; allowed: stop {example}, start {example}, status, help, quit",
                line.trim()
            ));
        }
    };
    Ok(Some(command))
}

fn parse_name(verb: &str, words: &[&str], config: &DevConfig) -> Result<NodeName, String> {
    let name = match *words {
        [protocol, id] => Protocol::from_name(protocol)
            .and_then(|protocol| Some(NodeName { protocol, id: NodeId(id.parse().ok()?) })),
        // With one protocol the number says it all.
        [id] => match (config.protocols(), id.parse()) {
            (&[protocol], Ok(id)) => Some(NodeName { protocol, id: NodeId(id) }),
            _ => None,
        },
        _ => None,
    };
    let name = name.filter(|&name| config.names().any(|known| known == name));
    name.ok_or_else(|| {
        let all: Vec<_> = config.names().map(|name| name.to_string()).collect();
        let given = words.join(" ");
        format!("{verb} which node? Not `{given}`; allowed: one of {}", all.join(", "))
    })
}

/// A node for an example.
fn example(config: &DevConfig) -> NodeName {
    config.names().next().expect("there is at least one node")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_or_answered_with_what_is_allowed() {
        let both = DevConfig::new("both", 3, 7000, None).expect("possible");
        let zab = DevConfig::new("zab", 1, 7000, None).expect("possible");
        let zab_1 = NodeName { protocol: Protocol::Zab, id: NodeId(1) };
        for (line, command) in [
            ("", None),
            ("  \t", None),
            (" stop  zab 1 ", Some(Command::Stop(zab_1))),
            ("start zab 1", Some(Command::Start(zab_1))),
            ("status", Some(Command::Status)),
            ("help", Some(Command::Help)),
            ("quit", Some(Command::Quit)),
        ] {
            assert_eq!(parse(line, &both), Ok(command), "{line}");
        }
        assert_eq!(parse("stop 1", &zab), Ok(Some(Command::Stop(zab_1))));
        for (line, config, words) in [
            ("kill raft 1", &both, "`kill raft 1` is no command; allowed: stop raft 1, start"),
            ("status now", &both, "`status now` is no command"),
            ("stop", &both, "one of raft 1, raft 2, raft 3, zab 1, zab 2, zab 3"),
            ("stop 1", &both, "Not `1`; allowed: one of raft 1"),
            ("stop raft 4", &both, "Not `raft 4`"),
            ("start raft 0", &both, "Not `raft 0`"),
            ("stop raft -1", &both, "Not `raft -1`"),
            ("stop null 1", &both, "Not `null 1`"),
            ("start raft 1", &zab, "allowed: one of zab 1"),
        ] {
            let error = parse(line, config).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
