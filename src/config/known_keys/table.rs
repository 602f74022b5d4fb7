//! The rows. Reasons are finished sentences without a final stop; they appear in warnings and in the manual.

use super::Kind;
use super::KnownKey;
use super::Place::{self, File, FileOrProcess, Process, Property, PropertyOrProcess};
use super::Standing::{self, Ensemble, EnsembleIgnored, EnsembleNotYet, EnsembleRefused, Ignored, NotYet, Used};
use Kind::{Bool, OneOf, Text, YesNo};

const fn key(name: &'static str, place: Place, kind: Kind, default: &'static str, standing: Standing) -> KnownKey {
    KnownKey { name, place, kind, default, standing }
}

/// Any 32-bit number: where ZooKeeper gives negative values a meaning, or clamps.
const ANY_INT: Kind = Kind::int(i32::MIN as i64);
const ANY_LONG: Kind = Kind::long(i64::MIN);
const COUNT: Kind = Kind::int(0);
const AT_LEAST_1: Kind = Kind::int(1);
const MILLIS: Kind = Kind::long(0);
const PORT: Kind = Kind::Int { min: 0, max: 65535 };
const RATIO: Kind = Kind::Real { min: 0.0, max: 1.0 };
const ANY_REAL: Kind = Kind::Real { min: f64::MIN, max: f64::MAX };

const THREADS: Standing = Ignored("one pinned thread per core does this work; see cores.*");
const BATCHING: Standing = Ignored("a flush takes what has arrived, no timer or count decides");
const NO_CACHE: Standing = Ignored("replies are made from the tree without a cache");
const NO_JVM: Standing = Ignored("there is no Java virtual machine to watch");
const WATCH_TABLE: Standing = Ignored("there is one kind of watch table, it keeps all kinds of watches");
const LOGGING: Standing = Ignored("log output is set by the environment variable RUST_LOG");
const CLOSING: Standing = Ignored("sockets and threads are closed without waiting");
const SASL: Standing = NotYet("SASL is planned; until then no client becomes a sasl identity");
const TLS: Standing = NotYet("TLS is planned");
const ADMIN: Standing = NotYet("the AdminServer is planned; until then there is none");
const METRICS: Standing = NotYet("metrics other than by mntr are planned");
const QUORUM_TLS: Standing = EnsembleRefused("TLS between servers is planned");
const QUORUM_SASL: Standing = EnsembleRefused("SASL between servers is planned");
const QUORUM_SASL_DETAIL: Standing = EnsembleNotYet("SASL between servers is planned");
const NO_DELAY: Standing = EnsembleIgnored("packets between servers are never held back to fill a segment");
const OBSERVER_DISK: Standing = EnsembleIgnored("an observer always keeps its log and its snapshots");
const OBSERVER_AT_ONCE: Standing = EnsembleIgnored("an observer looks for the leader again without waiting");
const AUDIT: Standing = NotYet("the audit log is planned; until then nothing is written");

#[rustfmt::skip] // one row a line
pub const KNOWN_KEYS: &[KnownKey] = &[
    // Keys of the parser.
    key("dataDir", File, Text, "", Used),
    key("dataLogDir", File, Text, "", Used),
    key("clientPort", File, PORT, "", Used),
    key("clientPortAddress", File, Text, "", Used),
    key("secureClientPort", File, PORT, "0", NotYet("TLS is planned; a secure port stops the start")),
    key("secureClientPortAddress", File, Text, "", NotYet("TLS is planned; a secure port stops the start")),
    key("clientPortListenBacklog", File, Kind::int(-1), "-1", Used),
    key("tickTime", File, AT_LEAST_1, "3000", Used),
    key("initLimit", File, COUNT, "", Ensemble),
    key("syncLimit", File, COUNT, "", Ensemble),
    key("connectToLearnerMasterLimit", File, COUNT, "0", Ensemble),
    key("minSessionTimeout", File, Kind::int(-1), "-1", Used),
    key("maxSessionTimeout", File, Kind::int(-1), "-1", Used),
    key("maxClientCnxns", File, ANY_INT, "60", Used),
    key("server.*", File, Text, "", Ensemble),
    key("group*", File, Text, "", Ensemble),
    key("weight*", File, Text, "", Ensemble),
    key("peerType", File, OneOf(&["participant", "observer"]), "participant", Ensemble),
    key("observerMasterPort", File, Kind::Int { min: i32::MIN as i64, max: 65535 }, "0", Ensemble),
    key("electionAlg", File, Kind::Int { min: 3, max: 3 }, "3", Ensemble),
    key("quorumListenOnAllIPs", File, Bool, "false", Ensemble),
    key("standaloneEnabled", File, Bool, "true", Used),
    key("reconfigEnabled", File, Bool, "false", Ensemble),
    key("dynamicConfigFile", File, Text, "", Used),
    key("syncEnabled", File, Bool, "true", OBSERVER_DISK),
    key("localSessionsEnabled", File, Bool, "false", Ensemble),
    key("localSessionsUpgradingEnabled", File, Bool, "false", Ensemble),
    key("autopurge.purgeInterval", File, ANY_INT, "0", Used),
    key("autopurge.snapRetainCount", File, ANY_INT, "3", Used),
    key("sslQuorum", File, Bool, "false", QUORUM_TLS),
    key("portUnification", File, Bool, "false", QUORUM_TLS),
    key("sslQuorumReloadCertFiles", File, Bool, "false", EnsembleNotYet("TLS between servers is planned")),
    key("quorum.auth.enableSasl", File, Bool, "false", QUORUM_SASL),
    key("quorum.auth.learnerRequireSasl", File, Bool, "false", QUORUM_SASL),
    key("quorum.auth.serverRequireSasl", File, Bool, "false", QUORUM_SASL),
    key("quorum.auth.learner.saslLoginContext", File, Text, "QuorumLearner", QUORUM_SASL_DETAIL),
    key("quorum.auth.server.saslLoginContext", File, Text, "QuorumServer", QUORUM_SASL_DETAIL),
    key("quorum.auth.kerberos.servicePrincipal", File, Text, "zkquorum/localhost", QUORUM_SASL_DETAIL),
    key("quorum.cnxn.threads.size", File, ANY_INT, "20", EnsembleIgnored("one thread does all of it, and never waits for a peer")),
    key("multiAddress.enabled", FileOrProcess, Bool, "false", Ensemble),
    key("multiAddress.reachabilityCheckTimeoutMs", FileOrProcess, COUNT, "1000", EnsembleIgnored("the addresses of a server are dialled one after the other until one answers")),
    key("multiAddress.reachabilityCheckEnabled", FileOrProcess, Bool, "true", EnsembleIgnored("the addresses of a server are dialled one after the other until one answers")),
    key("oraclePath", File, Text, "", EnsembleNotYet("two voters need each other")),
    key("jvm.pause.monitor", File, Bool, "false", NO_JVM),
    key("jvm.pause.info-threshold.ms", File, ANY_LONG, "1000", NO_JVM),
    key("jvm.pause.warn-threshold.ms", File, ANY_LONG, "10000", NO_JVM),
    key("jvm.pause.sleep.time.ms", File, ANY_LONG, "500", NO_JVM),
    key("metricsProvider.className", File, Text, "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider", METRICS),
    key("metricsProvider.httpHost", File, Text, "0.0.0.0", METRICS),
    key("metricsProvider.httpPort", File, PORT, "7000", METRICS),
    key("metricsProvider.*", File, Text, "", METRICS),
    // Limits, batching, storage.
    key("4lw.commands.whitelist", Property, Text, "srvr", Used),
    key("globalOutstandingLimit", Property, COUNT, "1000", Used),
    key("maxCnxns", Property, ANY_INT, "0", Used),
    key("preAllocSize", Property, Kind::Int { min: 1, max: 16 << 20 }, "65536", Used),
    key("snapCount", Property, ANY_INT, "100000", Used),
    key("commitLogCount", Property, ANY_INT, "500", Ensemble),
    key("snapSizeLimitInKb", Property, ANY_LONG, "4194304", Used),
    key("txnLogSizeLimitInKb", Property, ANY_LONG, "-1", Used),
    key("fsync.warningthresholdms", PropertyOrProcess, MILLIS, "1000", Used),
    key("forceSync", Property, YesNo, "yes", Used),
    key("snapshotSizeFactor", Property, ANY_REAL, "0.33", Ensemble),
    key("snapshot.compression.method", Property, OneOf(&["", "gz", "snappy"]), "", Used),
    key("snapshot.trust.empty", Property, Bool, "false", Used),
    key("forceSnapshotSync", Property, Bool, "false", Ensemble),
    key("serializeLastProcessedZxid.enabled", Property, Bool, "true", Used),
    key("digest.enabled", Property, Bool, "true", Used),
    key("datadir.autocreate", Property, Bool, "true", Used),
    key("db.autocreate", Property, Bool, "true", Used),
    key("closeSessionTxn.enabled", Property, Bool, "true", Used),
    key("flushDelay", Property, ANY_LONG, "0", BATCHING),
    key("maxWriteQueuePollTime", Property, ANY_LONG, "", BATCHING),
    key("maxBatchSize", Property, ANY_INT, "1000", BATCHING),
    key("maxResponseCacheSize", Property, ANY_INT, "400", NO_CACHE),
    key("maxGetChildrenResponseCacheSize", Property, ANY_INT, "400", NO_CACHE),
    key("jute.maxbuffer", Process, AT_LEAST_1, "1048575", Used),
    key("jute.maxbuffer.extrasize", Property, COUNT, "", Used),
    key("largeRequestThreshold", Property, ANY_INT, "-1", Used),
    key("largeRequestMaxBytes", Property, AT_LEAST_1, "104857600", Used),
    key("intBufferStartingSizeBytes", Property, ANY_INT, "1024", Ignored("reply buffers grow by themselves")),
    key("testingonly.initialZxid", Property, ANY_LONG, "", Ignored("a switch of ZooKeeper's own tests")),
    // Throttling.
    key("request_throttle_max_requests", Property, COUNT, "0", Used),
    key(
        "request_throttle_stall_time",
        Property,
        AT_LEAST_1,
        "100",
        Ignored("requests wait in their sockets and go on as soon as they may"),
    ),
    key("request_throttle_drop_stale", Property, Bool, "true", Used),
    key("request_stale_connection_check", Property, Bool, "true", Used),
    key("request_stale_latency_check", Property, Bool, "false", Used),
    key("request_throttler.shutdownTimeout", Property, MILLIS, "10000", CLOSING),
    key("throttled_op_wait_time", Property, COUNT, "0", Used),
    key("connection_throttle_tokens", Property, COUNT, "0", Used),
    key("connection_throttle_fill_time", Property, AT_LEAST_1, "1", Used),
    key("connection_throttle_fill_count", Property, AT_LEAST_1, "1", Used),
    key("connection_throttle_freeze_time", Property, ANY_INT, "-1", Used),
    key("connection_throttle_drop_increase", Property, RATIO, "0.02", Used),
    key("connection_throttle_drop_decrease", Property, RATIO, "0.002", Used),
    key("connection_throttle_decrease_ratio", Property, ANY_REAL, "0", Used),
    key("connection_throttle_weight_enabled", Property, Bool, "false", Used),
    key("connection_throttle_global_session_weight", Property, AT_LEAST_1, "3", Used),
    key("connection_throttle_local_session_weight", Property, AT_LEAST_1, "1", Used),
    key("connection_throttle_renew_session_weight", Property, AT_LEAST_1, "2", Used),
    // Network and threads.
    key("serverCnxnFactory", Property, Text, "org.apache.zookeeper.server.NIOServerCnxnFactory", Ignored("there is one network layer, io_uring")),
    key("clientTcpKeepAlive", Property, Bool, "false", Used),
    key("tcpKeepAlive", Property, Bool, "false", Ensemble),
    key("leader.nodelay", Process, Bool, "true", NO_DELAY),
    key("follower.nodelay", Process, Bool, "true", NO_DELAY),
    key("nio.numSelectorThreads", Property, ANY_INT, "", THREADS),
    key("nio.numWorkerThreads", Property, ANY_INT, "", THREADS),
    key("nio.sessionlessCnxnTimeout", Property, AT_LEAST_1, "10000", Used),
    key("nio.shutdownTimeout", Property, ANY_LONG, "5000", CLOSING),
    key("nio.directBufferBytes", Property, ANY_INT, "65536", Ignored("replies leave in one write per turn")),
    key("commitProcessor.numWorkerThreads", Property, ANY_INT, "", THREADS),
    key("commitProcessor.maxReadBatchSize", Property, ANY_INT, "-1", THREADS),
    key("commitProcessor.maxCommitBatchSize", Property, ANY_INT, "1", THREADS),
    key("commitProcessor.shutdownTimeout", Property, ANY_LONG, "5000", CLOSING),
    key("netty.server.outstandingHandshake.limit", Property, ANY_INT, "-1", TLS),
    key("netty.server.earlyDropSecureConnectionHandshakes", Property, Bool, "false", TLS),
    key("netty.advancedFlowControl.enabled", Property, Bool, "false", Ignored("a connection with an outstanding request is always paused when the limit is reached")),
    key("leaderServes", Property, YesNo, "yes", Ensemble),
    key("cnxTimeout", Property, COUNT, "5000", Ensemble),
    key("quorumCnxnTimeoutMs", Property, ANY_INT, "-1", Ensemble),
    key("electionPortBindRetry", Property, COUNT, "3", Ensemble),
    key("fastleader.minNotificationInterval", Property, AT_LEAST_1, "200", Ensemble),
    key("fastleader.maxNotificationInterval", Property, AT_LEAST_1, "60000", Ensemble),
    key("leader.maxTimeToWaitForEpoch", Property, ANY_INT, "-1", EnsembleNotYet("a leader waits for its quorum until initLimit")),
    key("leader.maxConcurrentSnapSyncs", Property, AT_LEAST_1, "10", Ensemble),
    key("leader.maxConcurrentDiffSyncs", Property, AT_LEAST_1, "100", Ensemble),
    key("leader.closeSocketAsync", PropertyOrProcess, Bool, "false", CLOSING),
    key("learner.closeSocketAsync", PropertyOrProcess, Bool, "false", CLOSING),
    key("learner.asyncSending", PropertyOrProcess, Bool, "false", Ignored("sending never blocks here")),
    key("leaderConnectDelayDuringRetryMs", Property, COUNT, "100", EnsembleIgnored("a leader that is not there yet is tried again after 1 to 100 ms, each time twice as long")),
    key("leader.ackLoggingFrequency", Property, ANY_INT, "1000", LOGGING),
    key("forward_learner_requests_to_commit_processor_disabled", Property, Bool, "false", THREADS),
    key("follower.skipLearnerRequestToNextProcessor", Property, Bool, "false", THREADS),
    key("observer.reconnectDelayMs", Property, MILLIS, "0", OBSERVER_AT_ONCE),
    key("observer.election.DelayMs", Property, MILLIS, "200", OBSERVER_AT_ONCE),
    key("observer.syncEnabled", Property, Bool, "true", OBSERVER_DISK),
    key("observerMaster.sizeLimit", Property, AT_LEAST_1, "33554432", EnsembleIgnored("an observer is a position in the history, which is kept for all learners alike")),
    key("messageTracker.Enabled", Property, Bool, "false", LOGGING),
    key("messageTracker.BufferSize", Property, ANY_INT, "10", LOGGING),
    // Features.
    key("extendedTypesEnabled", Property, Bool, "false", Used),
    key("emulate353TTLNodes", Property, Bool, "false", Used),
    key("enforceQuota", Property, Bool, "false", Used),
    key("enableEagerACLCheck", Property, Bool, "false", EnsembleNotYet("ACLs of writes are checked by the leader alone")),
    key("skipACL", Property, YesNo, "no", Used),
    key("readonlymode.enabled", Process, Bool, "false", Used),
    key("watchManagerName", Property, Text, "org.apache.zookeeper.server.watch.WatchManager", WATCH_TABLE),
    key("watcherCleanThreadsNum", Property, ANY_INT, "2", WATCH_TABLE),
    key("watcherCleanThreshold", Property, ANY_INT, "1000", WATCH_TABLE),
    key("watcherCleanIntervalInSeconds", Property, ANY_INT, "600", WATCH_TABLE),
    key("maxInProcessingDeadWatchers", Property, ANY_INT, "-1", WATCH_TABLE),
    key("bitHashCacheSize", Property, ANY_INT, "10", WATCH_TABLE),
    key("znode.container.checkIntervalMs", Process, AT_LEAST_1, "60000", Used),
    key("znode.container.maxPerMinute", Process, AT_LEAST_1, "10000", Used),
    key("znode.container.maxNeverUsedIntervalMs", Process, MILLIS, "0", Used),
    key("pathStats.*", Property, Text, "", Ignored("no statistics per path are kept")),
    key("audit.enable", Property, Bool, "false", AUDIT),
    key("audit.impl.class", Property, Text, "org.apache.zookeeper.audit.Slf4jAuditLogger", AUDIT),
    // Authentication.
    key("DigestAuthenticationProvider.enabled", Property, Bool, "true", Used),
    key("DigestAuthenticationProvider.superDigest", Property, Text, "", Used),
    key("DigestAuthenticationProvider.digestAlg", Property, Text, "SHA1", Used),
    key("IPAuthenticationProvider.usexforwardedfor", Property, Bool, "false", ADMIN),
    key("X509AuthenticationProvider.superUser", Property, Text, "", TLS),
    key("superUser", Property, Text, "", SASL),
    key("superUser.*", Property, Text, "", SASL),
    key("SASLAuthenticationProvider.superPassword", Property, Text, "", SASL),
    key("authProvider.*", Property, Text, "", NotYet("schemes other than world, ip, digest and auth are planned; no list entry of another scheme is accepted")),
    key("ssl.authProvider", Property, Text, "x509", TLS),
    key("ensembleAuthName", Property, Text, "", NotYet("the scheme ensemble is planned")),
    key("enforce.auth.enabled", Property, Bool, "false", Used),
    key("enforce.auth.schemes", Property, Text, "", Used),
    key("sessionRequireClientSASLAuth", Property, Bool, "false", NotYet("SASL is planned; requiring it stops the start")),
    key("allowSaslFailedClients", Property, Bool, "false", SASL),
    key("letAnySaslUserDoX", Property, Text, "", SASL),
    key("sasl.serverconfig", Property, Text, "Server", SASL),
    key("kerberos.removeHostFromPrincipal", Property, Bool, "false", SASL),
    key("kerberos.removeRealmFromPrincipal", Property, Bool, "false", SASL),
    key("kerberos.canonicalizeHostNames", Property, Bool, "false", SASL),
    key("security.auth_to_local", Property, Text, "DEFAULT", SASL),
    key("fips-mode", Property, Bool, "true", SASL),
    // AdminServer.
    key("admin.enableServer", Property, Bool, "true", ADMIN),
    key("admin.serverAddress", Property, Text, "0.0.0.0", ADMIN),
    key("admin.serverPort", Property, PORT, "8080", ADMIN),
    key("admin.idleTimeout", Property, ANY_INT, "30000", ADMIN),
    key("admin.commandURL", Property, Text, "/commands", ADMIN),
    key("admin.httpVersion", Property, ANY_INT, "11", ADMIN),
    key("admin.portUnification", Property, Bool, "false", ADMIN),
    key("admin.forceHttps", Property, Bool, "false", ADMIN),
    key("admin.needClientAuth", Property, Bool, "false", ADMIN),
    key("admin.snapshot.enabled", Property, Bool, "true", ADMIN),
    key("admin.restore.enabled", Property, Bool, "true", ADMIN),
    key("admin.rateLimiterIntervalInMS", Property, ANY_INT, "300000", ADMIN),
    // TLS of the client port beyond the shared keys.
    key("client.portUnification", Property, Bool, "false", TLS),
    key("client.certReload", Property, Bool, "false", TLS),
    // What ZooKeeper's start script passes to the JVM.
    key("log.dir", Property, Text, "", LOGGING),
    key("log.file", Property, Text, "", LOGGING),
    key("root.logger", Property, Text, "", LOGGING),
    key("console.threshold", Property, Text, "", LOGGING),
    // RingKeeper's own.
    key("cores.workers", PropertyOrProcess, Text, "auto", Used),
    key("cores.pin", PropertyOrProcess, OneOf(&["auto", "yes", "no"]), "auto", Used),
    key("cores.list", PropertyOrProcess, Text, "", Used),
    key("request.warningthresholdms", PropertyOrProcess, Kind::long(-1), "1000", Used),
    key("stall.warningthresholdms", PropertyOrProcess, Kind::long(10), "1000", Used),
];

/// Each also as `ssl.quorum.` + suffix for the quorum ports and the AdminServer, `sslProvider` excepted.
#[rustfmt::skip]
pub const TLS_KEYS: &[KnownKey] = &[
    key("ssl.keyStore.location", Property, Text, "", TLS),
    key("ssl.keyStore.password", Property, Text, "", TLS),
    key("ssl.keyStore.passwordPath", Property, Text, "", TLS),
    key("ssl.keyStore.type", Property, Text, "", TLS),
    key("ssl.trustStore.location", Property, Text, "", TLS),
    key("ssl.trustStore.password", Property, Text, "", TLS),
    key("ssl.trustStore.passwordPath", Property, Text, "", TLS),
    key("ssl.trustStore.type", Property, Text, "", TLS),
    key("ssl.protocol", Property, Text, "", TLS),
    key("ssl.enabledProtocols", Property, Text, "", TLS),
    key("ssl.ciphersuites", Property, Text, "", TLS),
    key("ssl.context.supplier.class", Property, Text, "", TLS),
    key("ssl.hostnameVerification", Property, Bool, "", TLS),
    key("ssl.clientHostnameVerification", Property, Bool, "", TLS),
    key("ssl.allowReverseDnsLookup", Property, Bool, "", TLS),
    key("ssl.crl", Property, Bool, "false", TLS),
    key("ssl.ocsp", Property, Bool, "false", TLS),
    key("ssl.clientAuth", Property, OneOf(&["none", "want", "need"]), "", TLS),
    key("ssl.handshakeDetectionTimeoutMillis", Property, ANY_INT, "5000", TLS),
    key("ssl.sslProvider", Property, Text, "", TLS),
];

/// Names that ZooKeeper's manual gives to keys, and the keys that work. Taking them is an extension: in ZooKeeper they
/// become a property that nobody reads.
#[rustfmt::skip]
pub const ALIASES: &[(&str, &str)] = &[
    ("requestThrottleLimit", "request_throttle_max_requests"),
    ("requestThrottleStallTime", "request_throttle_stall_time"),
    ("requestThrottleDropStale", "request_throttle_drop_stale"),
    ("requestStaleLatencyCheck", "request_stale_latency_check"),
    (
        "requestStaleConnectionCheck",
        "request_stale_connection_check",
    ),
    ("connectionMaxTokens", "connection_throttle_tokens"),
    ("connectionTokenFillTime", "connection_throttle_fill_time"),
    ("connectionTokenFillCount", "connection_throttle_fill_count"),
    ("connectionFreezeTime", "connection_throttle_freeze_time"),
    (
        "connectionDropIncrease",
        "connection_throttle_drop_increase",
    ),
    (
        "connectionDropDecrease",
        "connection_throttle_drop_decrease",
    ),
    (
        "connectionDecreaseRatio",
        "connection_throttle_decrease_ratio",
    ),
    ("throttledOpWaitTime", "throttled_op_wait_time"),
    ("maxTimeToWaitForEpoch", "leader.maxTimeToWaitForEpoch"),
    ("maxConcurrentSnapSyncs", "leader.maxConcurrentSnapSyncs"),
    ("maxConcurrentDiffSyncs", "leader.maxConcurrentDiffSyncs"),
    (
        "advancedFlowControlEnabled",
        "netty.advancedFlowControl.enabled",
    ),
    (
        "outstandingHandshake.limit",
        "netty.server.outstandingHandshake.limit",
    ),
];
