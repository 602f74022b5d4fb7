//! The workloads that have a name. Each is a workload file like those that users write, so that there is one way to say what
//! a workload is, and an example of everything.

/// Name and file.
pub const NAMED: [(&str, &str); 23] = [
    ("get", "about = \"getData of a random key\"\noperation = [{ kind = \"get\" }]\n"),
    ("exists", "about = \"exists of a random key\"\noperation = [{ kind = \"exists\" }]\n"),
    ("list", "about = \"getChildren2 of a parent with 100 children\"\noperation = [{ kind = \"list\" }]\n"),
    ("set", "about = \"setData of a random key\"\noperation = [{ kind = \"set\" }]\n"),
    (
        "create",
        "about = \"create of a new persistent znode under a parent of this run\"\noperation = [{ kind = \"create\" }]\n",
    ),
    (
        "delete",
        "about = \"delete of a znode that the setup or this run created; where none is left, create\"\noperation = [{ kind = \"delete\" }]\n",
    ),
    (
        "mixed",
        "about = \"90 % getData, 10 % setData; --write-percent changes that\"\noperation = [{ kind = \"get\", weight = 90 }, { kind = \"set\", weight = 10 }]\n",
    ),
    (
        "multi",
        "about = \"multi of 10: check, setData, create and delete by turns\"\noperation = [{ kind = \"multi\", size = 10, of = [\"check\", \"set\", \"create\", \"delete\"] }]\n",
    ),
    ("multi-read", "about = \"multiRead of 10 random keys\"\noperation = [{ kind = \"multi-read\", size = 10 }]\n"),
    (
        "sync-get",
        "about = \"sync and getData of a random key, sent together\"\noperation = [{ kind = \"sync-get\" }]\n",
    ),
    (
        "large",
        "about = \"256 KiB values: half getData, half setData\"\nkeys = 100\nvalue_bytes = 262_144\noperation = [{ kind = \"get\" }, { kind = \"set\" }]\n",
    ),
    (
        "deep",
        "about = \"keys 64 levels below the parent: 80 % getData, 20 % setData\"\nkeys = 1_000\nlevels = 64\noperation = [{ kind = \"get\", weight = 80 }, { kind = \"set\", weight = 20 }]\n",
    ),
    ("million-children", include_str!("named/million-children.toml")),
    (
        "get-list",
        "about = \"published mix: 90 % getData, 10 % getChildren2\"\noperation = [{ kind = \"get\", weight = 90 }, { kind = \"list\", weight = 10 }]\n",
    ),
    ("production", include_str!("named/production.toml")),
    ("list-heavy", include_str!("named/list-heavy.toml")),
    (
        "lock",
        "about = \"lock recipe: sequential ephemerals, 10 connections for each lock\"\npattern = \"lock\"\nclients_per_lock = 10\n",
    ),
    (
        "lock-free",
        "about = \"lock recipe without waiting: one connection for each lock\"\npattern = \"lock\"\nclients_per_lock = 1\n",
    ),
    ("watch-storm", "about = \"every connection watches one znode, one more writes it\"\npattern = \"watch-storm\"\n"),
    (
        "watch-storm-multi",
        "about = \"every connection watches ten znodes, one more writes them all in one multi\"\npattern = \"watch-storm\"\nwatches = 10\n",
    ),
    ("session-churn", "about = \"connect, new session, closeSession, again\"\npattern = \"session-churn\"\n"),
    (
        "session-churn-ephemeral",
        "about = \"the same with an ephemeral znode in each session\"\npattern = \"session-churn\"\nephemerals = 1\n",
    ),
    (
        "reconnect-storm",
        "about = \"all connections cut at once, all sessions attached again with 10 watches each\"\npattern = \"reconnect-storm\"\nwatches = 10\n",
    ),
];

pub fn find(name: &str) -> Option<&'static str> {
    NAMED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
