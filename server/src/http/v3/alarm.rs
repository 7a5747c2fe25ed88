//! `POST /v3/maintenance/alarm`: the alarms that stand, and the end of them.
//!
//! ```text
//! $ curl localhost:2379/v3/maintenance/alarm -d '{"action":"GET"}'
//! $ curl localhost:2379/v3/maintenance/alarm -d '{"action":"DEACTIVATE","memberID":"2","alarm":"CORRUPT"}'
//! ```
//!
//! `CORRUPT` is what replicas raise when their digests differ, and may be raised by hand. `NOSPACE` is told as
//! long as the store is full, and ends by itself: to end it is allowed and does nothing.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use consensus::NodeId;
use kvcore::{AlarmCommand, Command, Corruption, Outcome};

use super::context::{Asked, read};
use super::error::{Refusal, Refused};
use super::fulfilled;
use super::message::{AlarmAction, AlarmMember, AlarmRequest, AlarmResponse, AlarmType};
use crate::http::App;
use crate::node::handle::Written;

/// The endpoint.
pub(super) async fn alarm(app: &Arc<App>, request: Request) -> Result<Response, Refused> {
    let Asked { message, timeout } = read::<AlarmRequest>(app, request).await?;
    let standing = standing(app, &message);
    let (commands, alarms) = match message.action {
        AlarmAction::Get => (Vec::new(), standing),
        // An alarm about nothing: etcd's own tests of its gateway ask for one.
        AlarmAction::Activate if message.alarm == AlarmType::None => (Vec::new(), Vec::new()),
        AlarmAction::Activate => {
            let alarm = AlarmMember { member_id: message.member_id, alarm: message.alarm };
            (vec![raised(app, &message)?], vec![alarm])
        }
        AlarmAction::Deactivate => {
            let clear = |member_id| AlarmCommand::Clear { node: NodeId(member_id) };
            let commands = match message.member_id {
                _ if message.alarm == AlarmType::NoSpace => Vec::new(),
                0 => {
                    let corrupt = standing.iter().filter(|alarm| alarm.alarm == AlarmType::Corrupt);
                    corrupt.map(|alarm| clear(alarm.member_id)).collect()
                }
                // This node may not have heard of the alarm yet.
                member_id => vec![clear(member_id)],
            };
            (commands, standing)
        }
    };
    let mut revision = app.revision();
    for command in commands {
        let written = app.handle.write(Command::Alarm(command), None, timeout).await?;
        let Written { outcome, revision: after, .. } = written;
        if !matches!(outcome, Outcome::AlarmRaised | Outcome::AlarmCleared { .. }) {
            return Err(Refused::of_outcome(outcome));
        }
        revision = after;
    }
    fulfilled(app, &AlarmResponse { header: Some(app.header(revision)), alarms })
}

/// The alarms that a request is about, of those that stand. A list is of all members, as in etcd.
fn standing(app: &App, request: &AlarmRequest) -> Vec<AlarmMember> {
    let machine = app.handle.machine().read().expect("no holder of the machine panics");
    let corrupt: Vec<u64> = machine.alarms().keys().map(|node| node.0).collect();
    drop(machine);
    let corrupt = corrupt.into_iter().map(|member_id| (member_id, AlarmType::Corrupt));
    let full = app.handle.is_full().then(|| (app.handle.facts().id.0, AlarmType::NoSpace));
    let asked = |&(member_id, alarm): &(u64, AlarmType)| {
        (request.action == AlarmAction::Get || [0, member_id].contains(&request.member_id))
            && [AlarmType::None, alarm].contains(&request.alarm)
    };
    let all = corrupt.chain(full).filter(asked);
    all.map(|(member_id, alarm)| AlarmMember { member_id, alarm }).collect()
}

/// The command that raises an alarm by hand.
fn raised(app: &App, request: &AlarmRequest) -> Result<AlarmCommand, Refused> {
    if request.alarm != AlarmType::Corrupt {
        let what = "only CORRUPT is raised by hand; NOSPACE comes and goes with what is stored";
        return Err(Refused::with(Refusal::Unsupported, what));
    }
    let node = NodeId(request.member_id);
    if !app.handle.facts().members.contains_key(&node) {
        return Err(Refusal::MemberNotFound.into());
    }
    let index = app.handle.status().applied;
    Ok(AlarmCommand::Raise { node, corruption: Corruption { index, compared_with: node } })
}
