//! The tree that the history makes, with every version that every znode had: what a reader at any zxid must see. A second,
//! simple implementation; transactions that are impossible on it are reported.

use super::{Checked, Violation, demand};
use crate::message::{Txn, TxnBody};
use crate::types::{SessionId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    pub data: Option<Vec<u8>>,
    pub version: i32,
    pub czxid: Zxid,
    pub mzxid: Zxid,
    /// Of an ephemeral.
    pub session: Option<SessionId>,
}

/// What can happen to a znode, as far as watches are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Created,
    Deleted,
    Data,
    Children,
}

#[derive(Default)]
pub struct Znodes {
    /// What each znode became; `None`: deleted.
    versions: BTreeMap<String, Vec<(Zxid, Option<Znode>)>>,
    changes: BTreeMap<String, Vec<(Zxid, Change)>>,
    /// Ephemerals that there are now.
    ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
    /// When each session began, and ended.
    sessions: BTreeMap<SessionId, (Zxid, Option<Zxid>)>,
}

impl Znodes {
    pub fn apply(&mut self, txn: &Txn) -> Checked {
        let session = txn.header.session;
        self.apply_body(session, txn.header.zxid, &txn.body)
            .map_err(|Violation(why)| Violation(format!("{txn:?} is impossible: {why}")))
    }

    fn apply_body(&mut self, session: SessionId, zxid: Zxid, body: &TxnBody) -> Checked {
        match body {
            TxnBody::Create { path, data, ephemeral, .. } => {
                self.create(zxid, path, data, ephemeral.then_some(session))
            }
            TxnBody::CreateContainer { path, data, .. } | TxnBody::CreateTtl { path, data, .. } => {
                self.create(zxid, path, data, None)
            }
            TxnBody::Delete { path, .. } => self.delete(zxid, path),
            TxnBody::SetData { path, data, version, .. } => {
                let Some(mut znode) = self.now(path).cloned() else {
                    return demand(path.starts_with("/zookeeper"), || "there is no such znode".to_owned());
                };
                demand(znode.version.wrapping_add(1) == *version, || format!("its version was {}", znode.version))?;
                (znode.data, znode.version, znode.mzxid) = (data.clone(), *version, zxid);
                self.changed(path, zxid, Change::Data);
                self.put(path, zxid, Some(znode));
                Ok(())
            }
            TxnBody::SetAcl { path, .. } => {
                demand(path == "/" || self.now(path).is_some(), || "there is no such znode".to_owned())
            }
            TxnBody::Check { .. } | TxnBody::Error(_) => Ok(()),
            TxnBody::Multi(subs) => {
                if subs.iter().any(|sub| matches!(sub.body, TxnBody::Error(_))) {
                    return Ok(());
                }
                subs.iter().try_for_each(|sub| self.apply_body(session, zxid, &sub.body))
            }
            TxnBody::CreateSession { .. } => {
                // The id of one that is over may come again where a server's wall clock was set back.
                let before = self.sessions.insert(session, (zxid, None));
                demand(before.is_none_or(|(_, ended)| ended.is_some()), || format!("session {session} exists"))
            }
            TxnBody::CloseSession { paths } => self.close_session(session, zxid, paths.as_deref()),
        }
    }

    fn create(&mut self, zxid: Zxid, path: &str, data: &Option<Vec<u8>>, session: Option<SessionId>) -> Checked {
        demand(self.now(path).is_none(), || "the znode exists".to_owned())?;
        let parent = parent_of(path);
        demand(parent == "/" || self.now(parent).is_some(), || "there is no parent".to_owned())?;
        if let Some(session) = session {
            demand(self.is_alive(session), || format!("session {session} is over"))?;
            self.ephemerals.entry(session).or_default().insert(path.to_owned());
        }
        let znode = Znode { data: data.clone(), version: 0, czxid: zxid, mzxid: zxid, session };
        self.put(path, zxid, Some(znode));
        self.changed(path, zxid, Change::Created);
        self.changed(parent, zxid, Change::Children);
        Ok(())
    }

    fn delete(&mut self, zxid: Zxid, path: &str) -> Checked {
        let Some(znode) = self.now(path) else { return Err(Violation("there is no such znode".to_owned())) };
        if let Some(session) = znode.session
            && let Some(paths) = self.ephemerals.get_mut(&session)
        {
            paths.remove(path);
        }
        demand(self.children_at(path, zxid).next().is_none(), || "it has children".to_owned())?;
        self.put(path, zxid, None);
        self.changed(path, zxid, Change::Deleted);
        self.changed(parent_of(path), zxid, Change::Children);
        Ok(())
    }

    /// Its ephemerals go with it: these and no others.
    fn close_session(&mut self, session: SessionId, zxid: Zxid, named: Option<&[String]>) -> Checked {
        let owned = self.ephemerals.remove(&session).unwrap_or_default();
        if let Some(named) = named {
            let named: BTreeSet<String> = named.iter().cloned().collect();
            demand(named == owned, || format!("the session has {owned:?}"))?;
        }
        for path in owned {
            self.delete(zxid, &path)?;
        }
        if let Some((_, ended)) = self.sessions.get_mut(&session) {
            ended.get_or_insert(zxid);
        }
        Ok(())
    }

    fn put(&mut self, path: &str, zxid: Zxid, znode: Option<Znode>) {
        self.versions.entry(path.to_owned()).or_default().push((zxid, znode));
    }

    fn changed(&mut self, path: &str, zxid: Zxid, change: Change) {
        self.changes.entry(path.to_owned()).or_default().push((zxid, change));
    }

    pub fn is_alive(&self, session: SessionId) -> bool {
        matches!(self.sessions.get(&session), Some((_, None)))
    }

    pub fn alive_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.iter().filter(|(_, (_, ended))| ended.is_none()).map(|(session, _)| *session)
    }

    pub fn is_known(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    fn now(&self, path: &str) -> Option<&Znode> {
        self.versions.get(path).and_then(|versions| versions.last()).and_then(|(_, znode)| znode.as_ref())
    }

    /// As a reader at `zxid` sees it.
    pub fn at(&self, path: &str, zxid: Zxid) -> Option<&Znode> {
        as_of(self.versions.get(path)?, zxid)
    }

    pub fn children_at<'a>(&'a self, path: &'a str, zxid: Zxid) -> impl Iterator<Item = &'a str> {
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let length = prefix.len();
        let below = self.versions.range(prefix.clone()..).take_while(move |(path, _)| path.starts_with(&prefix));
        below
            .filter(move |(path, versions)| !path[length..].contains('/') && as_of(versions, zxid).is_some())
            .map(move |(path, _)| &path[length..])
    }

    /// The first change of one of these kinds behind `since` and through `until`.
    pub fn first_change(&self, path: &str, kinds: &[Change], since: Zxid, until: Zxid) -> Option<Zxid> {
        let changes = self.changes.get(path)?;
        let from = changes.partition_point(|(zxid, _)| *zxid <= since);
        let mut within = changes[from..].iter().take_while(|(zxid, _)| *zxid <= until);
        within.find(|(_, change)| kinds.contains(change)).map(|(zxid, _)| *zxid)
    }

    pub fn has_change(&self, path: &str, kind: Change, at: Zxid) -> bool {
        self.first_change(path, &[kind], Zxid(at.0 - 1), at).is_some()
    }

    /// Everything there is at the end.
    pub fn all_now(&self) -> impl Iterator<Item = (&str, &Znode)> {
        self.versions.iter().filter_map(|(path, versions)| Some((path.as_str(), versions.last()?.1.as_ref()?)))
    }
}

fn as_of(versions: &[(Zxid, Option<Znode>)], zxid: Zxid) -> Option<&Znode> {
    let behind = versions.partition_point(|(at, _)| *at <= zxid);
    versions[..behind].last()?.1.as_ref()
}

pub fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}
