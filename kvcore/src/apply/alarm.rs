//! Comparing digests, raising alarms and ending them.

use consensus::{Mutant, NodeId, mutant};

use crate::alarm::{ALARMS_MAX, AlarmCommand, Corruption};
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::records::{RecordKey, RecordValue};
use crate::store::Store;

impl<S: Store> Machine<S> {
    pub(super) fn change_alarms(&mut self, command: AlarmCommand) -> Outcome {
        match command {
            AlarmCommand::Compare { index, digest, leader } => {
                let then = self.state_at(index);
                let then = if mutant::on(Mutant::ComparesPresentState) {
                    then.map(|_| self.state())
                } else {
                    then
                };
                match then.map(|state| state.whole_digest() == digest) {
                    None => self.comparisons.impossible += 1,
                    Some(true) => self.comparisons.equal += 1,
                    Some(false) => {
                        self.comparisons.different += 1;
                        self.difference = Some(Corruption { index, compared_with: leader });
                    }
                }
                Outcome::DigestsCompared
            }
            AlarmCommand::Raise { node, corruption } => {
                let stands = self.alarms.contains_key(&node);
                if !stands && self.alarms.len() < ALARMS_MAX {
                    self.set_alarm(node, Some(corruption));
                }
                Outcome::AlarmRaised
            }
            AlarmCommand::Clear { node } => {
                let stood = self.alarms.contains_key(&node);
                if stood {
                    self.set_alarm(node, None);
                }
                Outcome::AlarmCleared { stood }
            }
        }
    }

    fn set_alarm(&mut self, node: NodeId, alarm: Option<Corruption>) {
        let before = match alarm {
            Some(corruption) => self.alarms.insert(node, corruption),
            None => self.alarms.remove(&node),
        };
        self.alarm_stood = true;
        let index = self.under_way.position.index;
        let [before, now] = [before, alarm].map(|alarm| alarm.map(RecordValue::Alarm));
        self.records.change(index, RecordKey::Alarm(node), before, now);
    }
}
