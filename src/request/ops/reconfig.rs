//! reconfig: from what a client asks for to the next configuration, in Java's order of checks and with its errors, and the
//! transaction that makes it known. Which configurations there are, and who is synchronized, is handed in; agreeing on the new
//! one is `zab`'s business.

use crate::message::{Effect, TxnBody, TxnHeader, WriteOp};
use crate::request::prepare::{Context, Executed, RequestRules, Requester, execute_body};
use crate::tree::{TreeWriter, View};
use crate::types::limits::CONFIG_BYTES_MAX;
use crate::types::{
    BadMemberLine, ErrorCode, Member, Membership, OpCode, Quorum, QuorumConfig, ServerId, Zxid, path, perms,
};
use std::collections::BTreeSet;

/// Where a leader stands when it is asked.
#[derive(Clone, Copy, Debug)]
pub struct ReconfigScene<'a> {
    /// The newest configuration there is, committed or not.
    pub newest: &'a QuorumConfig,
    /// It is not committed yet.
    pub is_pending: bool,
    /// The leader and its followers that have its history.
    pub synced: &'a BTreeSet<ServerId>,
    /// `standaloneEnabled`: there must be two voters at least.
    pub standalone_enabled: bool,
    /// `multiAddress.enabled`
    pub multi_address: bool,
}

/// There is no membership to change: refused, by the reason that comes first.
pub(in crate::request) fn prepare_standalone(context: &Context<'_>) -> Result<TxnBody, ErrorCode> {
    if !context.rules.reconfig_enabled {
        return Err(ErrorCode::ReconfigDisabled);
    }
    context.check_session()?;
    Err(ErrorCode::Unimplemented)
}

/// The configuration that a leader is asked for; its version is the zxid of the transaction that it will be.
pub fn plan_reconfig(
    view: View<'_>,
    op: &WriteOp,
    by: Requester<'_>,
    scene: ReconfigScene<'_>,
    rules: &RequestRules,
    zxid: Zxid,
) -> Result<QuorumConfig, ErrorCode> {
    let WriteOp::Reconfig { joining, leaving, new_members, config_id } = op else {
        return Err(ErrorCode::Unimplemented);
    };
    let context = Context { by, rules };
    if !rules.reconfig_enabled {
        return Err(ErrorCode::ReconfigDisabled);
    }
    context.check_session()?;
    if scene.is_pending {
        return Err(ErrorCode::ReconfigInProgress);
    }
    if *config_id != -1 && *config_id != scene.newest.version {
        return Err(ErrorCode::BadVersion);
    }
    let membership = match new_members {
        Some(list) => replaced(list, scene)?,
        None => changed(joining.as_deref(), leaving.as_deref(), scene)?,
    };
    let config = QuorumConfig { membership, version: zxid.0 };
    if config.to_string().len() > CONFIG_BYTES_MAX {
        return Err(ErrorCode::BadArguments);
    }
    let membership = &config.membership;
    let voters_min = if scene.standalone_enabled { 2 } else { 1 };
    if membership.voters() < voters_min {
        return Err(ErrorCode::BadArguments);
    }
    if !Quorum::of(membership).is_reached_by(scene.synced) {
        return Err(ErrorCode::NewConfigNoQuorum);
    }
    let node = view.lookup(path::CONFIG).ok_or(ErrorCode::NoNode)?;
    rules.access.check(node.acl(), perms::WRITE, by.ids)?;
    Ok(config)
}

/// What was planned as a transaction, or a refusal as one.
pub fn execute_reconfig(
    tree: &mut TreeWriter,
    header: TxnHeader,
    planned: Result<&QuorumConfig, ErrorCode>,
    rules: &RequestRules,
    effects: Option<&mut Vec<Effect>>,
) -> Executed {
    let body = planned.map(|config| TxnBody::SetData {
        op: OpCode::Reconfig,
        path: path::CONFIG.to_owned(),
        data: Some(config.to_string().into_bytes()),
        version: -1,
    });
    execute_body(tree, header, body, rules, effects)
}

/// The configuration that a transaction makes, if it is a reconfig. An error says why it cannot be read.
pub fn config_of(body: &TxnBody) -> Option<Result<QuorumConfig, String>> {
    let TxnBody::SetData { op: OpCode::Reconfig, data, .. } = body else { return None };
    let text = String::from_utf8_lossy(data.as_deref().unwrap_or_default());
    Some(QuorumConfig::parse(&text).map_err(|why| why.to_string()))
}

/// The list as a whole, separated by commas or line breaks.
fn replaced(list: &str, scene: ReconfigScene<'_>) -> Result<Membership, ErrorCode> {
    let membership = QuorumConfig::parse(&list.replace(',', "\n")).map_err(|why| code_of(&why))?.membership;
    if !scene.multi_address && membership.members.values().any(|member| member.addresses.len() > 1) {
        return Err(ErrorCode::BadArguments);
    }
    // What follows throws in Java, and is answered as what could not be read.
    let weighs = |id: &ServerId| membership.is_voter(*id) || membership.weights.contains_key(id);
    let grouped_without_weight = membership.groups.values().flatten().any(|id| !weighs(id));
    let too_few = match membership.voters() {
        0 => !scene.standalone_enabled || membership.observers() > 0,
        1 => scene.standalone_enabled && membership.observers() > 0,
        _ => false,
    };
    if grouped_without_weight || too_few {
        return Err(ErrorCode::MarshallingError);
    }
    Ok(membership)
}

/// First some leave, then others join or are replaced.
fn changed(joining: Option<&str>, leaving: Option<&str>, scene: ReconfigScene<'_>) -> Result<Membership, ErrorCode> {
    if scene.newest.membership.is_hierarchical() {
        return Err(ErrorCode::BadArguments);
    }
    let mut next = scene.newest.membership.clone();
    for id in listed(leaving, ',') {
        next.members.remove(&server_id(id)?);
    }
    for line in listed(joining, ',') {
        let parts: Vec<&str> = listed(Some(line), '=').collect();
        let [name, spec] = parts.as_slice() else { return Err(ErrorCode::BadArguments) };
        let id = server_id(name.rsplit('.').next().unwrap_or(name))?;
        let member = Member::parse(id, spec).map_err(|why| code_of(&why))?;
        if member.client.is_none() || !scene.multi_address && member.addresses.len() > 1 {
            return Err(ErrorCode::BadArguments);
        }
        if next.members.values().any(|other| other.id != id && member.clash(other).is_some()) {
            return Err(ErrorCode::BadArguments);
        }
        next.members.insert(id, member);
    }
    Ok(next)
}

fn listed(list: Option<&str>, separator: char) -> impl Iterator<Item = &str> {
    list.into_iter().flat_map(move |list| list.split(separator)).map(str::trim).filter(|item| !item.is_empty())
}

fn server_id(text: &str) -> Result<ServerId, ErrorCode> {
    text.parse().map(ServerId).map_err(|_| ErrorCode::MarshallingError)
}

fn code_of(why: &BadMemberLine) -> ErrorCode {
    match why {
        BadMemberLine::Form(_) => ErrorCode::BadArguments,
        BadMemberLine::Number(_) => ErrorCode::MarshallingError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{EffectKind, WriteResult};
    use crate::request::testbed::{ALICE, Testbed};
    use crate::types::Id;
    use proptest::prelude::*;

    #[test]
    fn there_is_nothing_to_reconfigure() {
        let mut bed = Testbed::default();
        let op = WriteOp::Reconfig { joining: None, leaving: None, new_members: None, config_id: -1 };
        bed.refusal = Some(ErrorCode::SessionExpired);
        assert_eq!(bed.run(op.clone()), Err(ErrorCode::ReconfigDisabled));
        bed.rules.reconfig_enabled = true;
        assert_eq!(bed.run(op.clone()), Err(ErrorCode::SessionExpired));
        bed.refusal = None;
        assert_eq!(bed.run(op), Err(ErrorCode::Unimplemented));
    }

    const THREE: &str = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nversion=100000000";

    struct Stage {
        bed: Testbed,
        newest: QuorumConfig,
        is_pending: bool,
        synced: BTreeSet<ServerId>,
        standalone_enabled: bool,
    }

    impl Stage {
        fn of(text: &str) -> Stage {
            let mut bed = Testbed::default();
            bed.rules.reconfig_enabled = true;
            bed.ids = vec![Id::new("super", "")];
            let synced = (1..=4).map(ServerId).collect();
            let newest = QuorumConfig::parse(text).unwrap();
            Stage { bed, newest, is_pending: false, synced, standalone_enabled: true }
        }

        fn plan(&self, joining: &str, leaving: &str, members: &str, config_id: i64) -> Result<String, ErrorCode> {
            let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let op = WriteOp::Reconfig {
                joining: given(joining),
                leaving: given(leaving),
                new_members: given(members),
                config_id,
            };
            let scene = ReconfigScene {
                newest: &self.newest,
                is_pending: self.is_pending,
                synced: &self.synced,
                standalone_enabled: self.standalone_enabled,
                multi_address: false,
            };
            let by = Requester { ids: &self.bed.ids, refusal: self.bed.refusal, ephemeral_refusal: None };
            let planned = plan_reconfig(self.bed.view(), &op, by, scene, &self.bed.rules, Zxid(0x1_0000_0005));
            planned.map(|config| config.to_string())
        }
    }

    #[test]
    fn who_leaves_goes_first_and_who_joins_replaces() {
        let stage = Stage::of(THREE);
        let kept = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n";
        let planned = stage.plan("server.4=d:1:2;3, server.3=c:1:2:observer;[::1]:5", "3 , 7", "", -1).unwrap();
        let joined = "server.3=c:1:2:observer;[0:0:0:0:0:0:0:1]:5\nserver.4=d:1:2:participant;0.0.0.0:3\n";
        assert_eq!(planned, format!("{kept}{joined}version=100000005"));
        assert_eq!(stage.plan("", "3", "", 0x1_0000_0000).unwrap(), format!("{kept}version=100000005"));
        // Nothing at all is the same members in another version.
        assert_eq!(stage.plan("", "", "", -1).unwrap(), format!("{kept}server.3=c:1:2:participant\nversion=100000005"));
        // Java takes what stands behind the last dot, or all of it.
        assert!(stage.plan("4=d:1:2;3,x.y.5=e:1:2;3", "", "", -1).unwrap().contains("server.5=e:1:2:participant"));
    }

    #[test]
    fn a_whole_list_replaces_all_groups_and_weights_too() {
        let stage = Stage::of(&format!("{THREE}\ngroup.1=1:2:3"));
        let list = "server.1=a:1:2,server.2=b:1:2\nserver.4=d:1:2:observer,version=7";
        let expected = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.4=d:1:2:observer\n";
        assert_eq!(stage.plan("ignored", "1", list, -1).unwrap(), format!("{expected}version=100000005"));
        let grouped = stage.plan("", "", "server.1=a:1:2,server.2=b:1:2,group.1=1,group.2=2,weight.2=3", -1).unwrap();
        assert!(grouped.ends_with("group.1=1\ngroup.2=2\nweight.1=1\nweight.2=3\nversion=100000005"), "{grouped}");
    }

    /// Each request fails in all that follow, too; the first of them names the error. What Java answers was seen
    /// (`testing/reconfig`).
    #[test]
    fn the_first_check_that_fails_names_the_error() {
        let mut stage = Stage::of(THREE);
        stage.bed.ids.clear();
        stage.synced = [ServerId(1)].into();
        stage.is_pending = true;
        stage.bed.refusal = Some(ErrorCode::SessionMoved);
        stage.bed.rules.reconfig_enabled = false;
        let ask = |stage: &Stage, joining: &str| stage.plan(joining, "", "", 5);
        assert_eq!(ask(&stage, "x"), Err(ErrorCode::ReconfigDisabled));
        stage.bed.rules.reconfig_enabled = true;
        assert_eq!(ask(&stage, "x"), Err(ErrorCode::SessionMoved));
        stage.bed.refusal = None;
        assert_eq!(ask(&stage, "x"), Err(ErrorCode::ReconfigInProgress));
        stage.is_pending = false;
        assert_eq!(ask(&stage, "x"), Err(ErrorCode::BadVersion));
        assert_eq!(stage.plan("x", "1,2,3", "", -1), Err(ErrorCode::BadArguments));
        assert_eq!(stage.plan("", "1,2", "", -1), Err(ErrorCode::BadArguments), "one voter is left");
        assert_eq!(stage.plan("", "1", "", -1), Err(ErrorCode::NewConfigNoQuorum));
        stage.synced.insert(ServerId(2));
        assert_eq!(stage.plan("", "3", "", -1), Err(ErrorCode::NoAuth));
        stage.bed.rules.access.skip_acl = true;
        assert!(stage.plan("", "3", "", -1).is_ok());
    }

    #[test]
    fn lists_that_cannot_be_read() {
        let mut stage = Stage::of(THREE);
        for (joining, leaving, members, error) in [
            ("server.4=d:1:2", "", "", ErrorCode::BadArguments),
            ("server.4=d:1:2;", "", "", ErrorCode::BadArguments),
            ("server.4=d:1:1;3", "", "", ErrorCode::BadArguments),
            ("server.4=d:1:2:king;3", "", "", ErrorCode::BadArguments),
            ("server.4=d:1:2|e:1:2;3", "", "", ErrorCode::BadArguments),
            ("server.4", "", "", ErrorCode::BadArguments),
            ("server.4=a=b", "", "", ErrorCode::BadArguments),
            ("server.x=d:1:2;3", "", "", ErrorCode::MarshallingError),
            ("server.4=d:1:99999;3", "", "", ErrorCode::MarshallingError),
            ("server.4=a:1:5;3", "", "", ErrorCode::BadArguments),
            ("", "server.3", "", ErrorCode::MarshallingError),
            ("", "", "tickTime=5", ErrorCode::BadArguments),
            ("", "", "server.1=a:1:2,server.2=b:1", ErrorCode::BadArguments),
            ("", "", "server.1=a:1:2,server.z=b:1:2", ErrorCode::MarshallingError),
            ("", "", "server.1=a:1:2,server.2=b:1:2,group.1=1", ErrorCode::BadArguments),
            ("", "", "server.1=a:1:2,server.2=b:1:2,group.1=1:2:3", ErrorCode::MarshallingError),
            ("", "", "server.1=a:1:2,server.2=b:1:2:observer", ErrorCode::MarshallingError),
            ("", "", "server.1=a:1:2:observer", ErrorCode::MarshallingError),
            ("", "", "server.1=a:1:2", ErrorCode::BadArguments),
            ("", "", "version=5", ErrorCode::BadArguments),
        ] {
            assert_eq!(stage.plan(joining, leaving, members, -1), Err(error), "{joining:?} {leaving:?} {members:?}");
        }
        stage.standalone_enabled = false;
        assert!(stage.plan("", "2,3", "", -1).is_ok());
        assert_eq!(stage.plan("", "1,2,3", "", -1), Err(ErrorCode::BadArguments));
        assert_eq!(stage.plan("", "", "version=5", -1), Err(ErrorCode::MarshallingError));
        let grouped = Stage::of(&format!("{THREE}\ngroup.1=1:2:3"));
        assert_eq!(grouped.plan("", "3", "", -1), Err(ErrorCode::BadArguments), "groups change as a whole");
    }

    #[test]
    fn nobody_makes_a_configuration_that_does_not_travel() {
        let stage = Stage::of(THREE);
        let many: Vec<String> = (4..9000).map(|id| format!("server.{id}=host{id}:1:2:observer;3")).collect();
        assert_eq!(stage.plan(&many.join(","), "", "", -1), Err(ErrorCode::BadArguments));
        assert!(stage.plan(&many[..500].join(","), "", "", -1).is_ok());
    }

    proptest! {
        /// What is planned is read back as it was.
        #[test]
        fn any_words_are_planned_or_refused(
            joining in "[server.=0-9a:;,|\\[\\]\\-gw \\n]{0,60}",
            leaving in "[0-9, x]{0,12}",
            members in "(server|group|weight|version)[.=0-9a:;,\\n|p-t]{0,80}",
        ) {
            for members in [members.as_str(), ""] {
                let stage = Stage::of(THREE);
                if let Ok(text) = stage.plan(&joining, &leaving, members, -1) {
                    prop_assert_eq!(QuorumConfig::parse(&text).unwrap().to_string(), text);
                }
            }
        }
    }

    #[test]
    fn a_plan_becomes_a_transaction_that_says_so() {
        let mut stage = Stage::of(THREE);
        let config = QuorumConfig::parse(&stage.plan("", "3", "", -1).unwrap()).unwrap();
        let header = stage.bed.header(ALICE);
        let mut effects = Vec::new();
        let rules = stage.bed.rules.clone();
        let done = execute_reconfig(&mut stage.bed.tree, header, Ok(&config), &rules, Some(&mut effects));
        let Ok(WriteResult::Data(Some(data), stat)) = done.outcome.result else { panic!("{:?}", done.outcome) };
        assert_eq!((data, stat.version, stat.mzxid), (config.to_string().into_bytes(), -1, header.zxid));
        assert_eq!((effects.len(), effects[0].kind), (1, EffectKind::DataChanged));
        assert_eq!(config_of(&done.txn.body), Some(Ok(config)));
        let header = stage.bed.header(ALICE);
        let refused = execute_reconfig(&mut stage.bed.tree, header, Err(ErrorCode::NewConfigNoQuorum), &rules, None);
        assert_eq!(refused.txn.body, TxnBody::Error(-13));
        assert_eq!(config_of(&refused.txn.body), None);
    }
}
