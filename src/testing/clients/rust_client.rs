//! All that the crate `zookeeper-client` can ask of a server.

use std::time::Duration;

use zookeeper_client as zk;
use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthId, Client, CreateMode, Error, EventType, Permission, SessionState,
};

use super::proxy::Proxy;

async fn connect(proxy: &Proxy) -> Client {
    let connector = Client::connector().with_session_timeout(Duration::from_secs(8));
    connector.connect(&proxy.address().to_string()).await.expect("cannot connect")
}

pub async fn programme(proxy: &Proxy) {
    let (client, other) = (connect(proxy).await, connect(proxy).await);
    nodes(&client).await;
    transactions(&client).await;
    acls(&client, &other).await;
    watches(&client, &other).await;
    reattach(client, &other, proxy).await;
}

async fn nodes(client: &Client) {
    let open = |mode: CreateMode| mode.with_acls(Acls::anyone_all());
    let persistent = open(CreateMode::Persistent);
    let (stat, _) = client.create("/r", b"one", &persistent).await.unwrap();
    assert_eq!((stat.version, stat.data_length, stat.ephemeral_owner), (0, 3, 0));
    client.create("/r/e", b"", &open(CreateMode::Ephemeral)).await.unwrap();
    let (_, sequence) = client.create("/r/s-", b"", &open(CreateMode::PersistentSequential)).await.unwrap();
    assert_eq!(sequence.to_string(), "0000000001");
    let (_, sequence) = client.create("/r/es-", b"", &open(CreateMode::EphemeralSequential)).await.unwrap();
    assert_eq!(sequence.to_string(), "0000000002");
    client.create("/r/container", b"", &open(CreateMode::Container)).await.unwrap();
    let hour = Duration::from_secs(3600);
    client.create("/r/ttl", b"", &open(CreateMode::Persistent).with_ttl(hour)).await.unwrap();
    let (_, sequence) =
        client.create("/r/sttl-", b"", &open(CreateMode::PersistentSequential).with_ttl(hour)).await.unwrap();
    assert_eq!(sequence.to_string(), "0000000005");
    assert_eq!(client.create("/r", b"", &persistent).await.unwrap_err(), Error::NodeExists);
    assert_eq!(client.create("/missing/child", b"", &persistent).await.unwrap_err(), Error::NoNode);
    assert_eq!(client.create("/r/e/child", b"", &persistent).await.unwrap_err(), Error::NoChildrenForEphemerals);

    let (data, stat) = client.get_data("/r").await.unwrap();
    assert_eq!((data.as_slice(), stat.num_children, stat.cversion), (&b"one"[..], 6, 6));
    assert_eq!(client.set_data("/r", b"two!", Some(0)).await.unwrap().version, 1);
    assert_eq!(client.set_data("/r", b"", Some(0)).await.unwrap_err(), Error::BadVersion);
    assert!(client.check_stat("/missing").await.unwrap().is_none());
    let owner = client.check_stat("/r/e").await.unwrap().expect("just created").ephemeral_owner;
    assert_eq!(owner, client.session_id().0);
    let (names, stat) = client.get_children("/r").await.unwrap();
    assert_eq!((names.len(), stat.num_children), (6, 6));
    assert_eq!(client.list_children("/r").await.unwrap().len(), 6);
    assert_eq!(client.count_descendants_number("/r").await.unwrap(), 6);
    let mut ephemerals = client.list_ephemerals("/r").await.unwrap();
    ephemerals.sort();
    assert_eq!(ephemerals, ["/r/e", "/r/es-0000000002"]);
    client.sync("/r").await.unwrap();
    client.get_config().await.unwrap();
    assert_eq!(client.delete("/r", None).await.unwrap_err(), Error::NotEmpty);
    assert_eq!(client.delete("/r/ttl", Some(7)).await.unwrap_err(), Error::BadVersion);
    client.delete("/r/ttl", Some(0)).await.unwrap();
    assert_eq!(client.delete("/r/ttl", None).await.unwrap_err(), Error::NoNode);
}

async fn transactions(client: &Client) {
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let mut good = client.new_multi_writer();
    good.add_check_version("/r", 1).unwrap();
    good.add_create("/r/t", b"t", &persistent).unwrap();
    good.add_set_data("/r/t", b"u", Some(0)).unwrap();
    good.add_create("/r/ts-", b"", &CreateMode::PersistentSequential.with_acls(Acls::anyone_all())).unwrap();
    good.add_delete("/r/s-0000000001", None).unwrap();
    let results = good.commit().await.unwrap();
    assert_eq!(results.len(), 5);
    assert!(matches!(&results[1], zk::MultiWriteResult::Create { path, .. } if path == "/r/t"), "{results:?}");
    let mut bad = client.new_multi_writer();
    bad.add_create("/r/never", b"", &persistent).unwrap();
    bad.add_check_version("/r", 77).unwrap();
    let error = bad.commit().await.unwrap_err();
    assert!(format!("{error:?}").contains("BadVersion"), "{error:?}");
    assert!(client.check_stat("/r/never").await.unwrap().is_none());

    let mut reader = client.new_multi_reader();
    reader.add_get_data("/r/t").unwrap();
    reader.add_get_children("/r/t").unwrap();
    reader.add_get_data("/missing").unwrap();
    let results = reader.commit().await.unwrap();
    assert!(matches!(&results[0], zk::MultiReadResult::Data { data, .. } if data == b"u"), "{results:?}");
    assert!(matches!(&results[1], zk::MultiReadResult::Children { children } if children.is_empty()), "{results:?}");
    assert!(matches!(&results[2], zk::MultiReadResult::Error { err: Error::NoNode }), "{results:?}");
}

async fn acls(client: &Client, other: &Client) {
    let joe = [Acl::new(Permission::ALL, AuthId::new("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="))];
    client.create("/r/locked", b"secret", &CreateMode::Persistent.with_acls(Acls::new(&joe))).await.unwrap();
    assert_eq!(client.get_data("/r/locked").await.unwrap_err(), Error::NoAuth);
    client.auth("digest", b"u:p").await.unwrap();
    assert_eq!(client.get_data("/r/locked").await.unwrap().0, b"secret");
    assert_eq!(other.get_data("/r/locked").await.unwrap_err(), Error::NoAuth);
    let users = client.list_auth_users().await.unwrap();
    assert!(users.iter().any(|user| user.scheme() == "digest" && user.user() == "u"), "{users:?}");
    let (list, stat) = client.get_acl("/r/locked").await.unwrap();
    assert_eq!((list.as_slice(), stat.aversion), (&joe[..], 0));
    assert_eq!(client.set_acl("/r/locked", &Acls::creator_all(), Some(0)).await.unwrap().aversion, 1);
    assert_eq!(client.set_acl("/r/locked", &Acls::anyone_all(), Some(0)).await.unwrap_err(), Error::BadVersion);
}

async fn watches(client: &Client, other: &Client) {
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let (_, watcher) = client.check_and_watch_stat("/w").await.unwrap();
    other.create("/w", b"", &persistent).await.unwrap();
    let event = watcher.changed().await;
    assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeCreated, "/w"));
    let (_, _, watcher) = client.get_and_watch_data("/w").await.unwrap();
    let stat = other.set_data("/w", b"x", None).await.unwrap();
    let event = watcher.changed().await;
    assert_eq!((event.event_type, event.zxid), (EventType::NodeDataChanged, stat.mzxid));
    let (_, _, watcher) = client.get_and_watch_children("/w").await.unwrap();
    other.create("/w/c", b"", &persistent).await.unwrap();
    assert_eq!(watcher.changed().await.event_type, EventType::NodeChildrenChanged);

    let mut exact = client.watch("/w", AddWatchMode::Persistent).await.unwrap();
    let mut below = client.watch("/w", AddWatchMode::PersistentRecursive).await.unwrap();
    other.set_data("/w", b"y", None).await.unwrap();
    other.delete("/w/c", None).await.unwrap();
    assert_eq!(exact.changed().await.event_type, EventType::NodeDataChanged);
    assert_eq!(exact.changed().await.event_type, EventType::NodeChildrenChanged);
    assert_eq!(below.changed().await.event_type, EventType::NodeDataChanged);
    let event = below.changed().await;
    assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeDeleted, "/w/c"));
    // Dropping a watcher removes its watch from the server.
    drop((exact, below));
    client.sync("/w").await.unwrap();
}

async fn reattach(client: Client, other: &Client, proxy: &Proxy) {
    let session = client.session_id();
    let (_, _, watcher) = client.get_and_watch_data("/w").await.unwrap();
    let mut states = client.state_watcher();
    let mut other_states = other.state_watcher();
    assert!(proxy.cut() > 0, "there was no connection to cut");
    for states in [&mut states, &mut other_states] {
        // A watcher tells the latest state: the disconnected one in between may be over too soon to be seen.
        while states.changed().await != SessionState::SyncConnected {}
    }
    assert_eq!(client.session_id(), session);
    let owner = client.check_stat("/r/e").await.unwrap().expect("the ephemeral node is gone").ephemeral_owner;
    assert_eq!(owner, session.0);
    other.set_data("/w", b"z", None).await.unwrap();
    assert_eq!(watcher.changed().await.event_type, EventType::NodeDataChanged);

    // Dropping the client closes its session.
    let (_, ephemeral) = other.check_and_watch_stat("/r/e").await.unwrap();
    drop(states);
    drop(client);
    assert_eq!(ephemeral.changed().await.event_type, EventType::NodeDeleted);
}
