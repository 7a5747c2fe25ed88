//! Alarms that are raised by hand, as one of etcd's calls does, and ended again. While one stands whoever takes
//! requests refuses all others, as the server does; so no lease can be kept alive, and none may end.

use std::time::Duration;

use consensus::{Consensus, NodeId, Random};
use kvcore::{AlarmCommand, Command, Corruption};

use crate::agenda::Happening;
use crate::client::ClientId;
use crate::cluster::Cluster;
use crate::history::Action;
use crate::process::Process;

/// In one of so many runs there are alarms.
const RUNS_WITH_ALARMS: u64 = 8;
/// One of so many requests raises one, and of so many that are made while one stands, ends it.
const RAISED_ONE_IN: u64 = 40;
const ENDED_ONE_IN: u64 = 4;

/// Whether a run has alarms. It has its own draw, so that runs without them are what they were before there
/// were any.
pub(crate) fn are_raised(seed: u64) -> bool {
    Random::new(seed ^ 0xA1A5).one_in(RUNS_WITH_ALARMS)
}

/// Whether a node refuses a request because, as far as it has applied the log, an alarm stands.
pub(crate) fn refuses<C: Consensus>(process: &Process<C>, action: &Action) -> bool {
    let about_alarms = matches!(action, Action::Write(Command::Alarm(_), _));
    !about_alarms && !process.machine.alarms().is_empty()
}

impl<C: Consensus> Cluster<C> {
    /// What a client does who now and then looks after alarms. When everything is repaired whoever sees one
    /// ends it, and nobody raises another.
    pub(crate) fn with_alarms(&mut self, id: ClientId, action: Action) -> Action {
        if !self.surroundings.alarms {
            return action;
        }
        let stands = self.oracle.model.alarms.first().copied();
        let about = self.options.any_member(&mut self.clients[id.0].random);
        let index = self.oracle.applied_max();
        let random = &mut self.clients[id.0].random;
        let is_one_too_many = self.healed
            && matches!(action, Action::Write(Command::Alarm(AlarmCommand::Raise { .. }), _));
        let command = match stands {
            Some(node) if self.healed || random.one_in(ENDED_ONE_IN) => {
                AlarmCommand::Clear { node }
            }
            None if is_one_too_many => AlarmCommand::Clear { node: about },
            None if !self.healed && random.one_in(RAISED_ONE_IN) => {
                let corruption = Corruption { index, compared_with: NodeId(1) };
                AlarmCommand::Raise { node: about, corruption }
            }
            _ => return action,
        };
        Action::Write(Command::Alarm(command), None)
    }

    /// An alarm that was asked for long ago may come when no client asks for anything any more: one of them
    /// ends it.
    pub(crate) fn end_late_alarms(&mut self) {
        if self.clients_stop && !self.oracle.model.alarms.is_empty() && self.clients[0].is_idle() {
            self.agenda.after(Duration::from_millis(1), Happening::ClientTurn(ClientId(0)));
        }
    }
}
