// All that node-zookeeper-client can ask of a server, for src/testing/clients.rs.
// Usage: node node_client.js HOST:PORT. Prints CUT when it wants its connections cut, DONE at the end.
'use strict';

const assert = require('assert');
const zookeeper = require('node-zookeeper-client');
const { ACL, CreateMode, Event, Exception, Id, Permission, State } = zookeeper;

const hosts = process.argv[2];
const text = (string) => Buffer.from(string);

// The library speaks in callbacks; the last argument of each call is one.
const call = (client, method, ...args) =>
  new Promise((resolve, reject) =>
    client[method](...args, (error, ...results) => (error ? reject(error) : resolve(results.length > 1 ? results : results[0]))));

async function fails(code, promise) {
  const error = await promise.then((result) => assert.fail(`should fail, gave ${JSON.stringify(result)}`), (e) => e);
  assert.strictEqual(error.getCode && error.getCode(), code, `${error}`);
}

async function connected(options) {
  const client = zookeeper.createClient(hosts, { sessionTimeout: 8000, ...options });
  const ready = new Promise((resolve) => client.once('connected', resolve));
  client.connect();
  await ready;
  return client;
}

async function nodes(zk) {
  assert.strictEqual(await call(zk, 'create', '/n', text('one')), '/n');
  assert.strictEqual(await call(zk, 'create', '/n/e', CreateMode.EPHEMERAL), '/n/e');
  assert.strictEqual(await call(zk, 'create', '/n/s-', CreateMode.PERSISTENT_SEQUENTIAL), '/n/s-0000000001');
  assert.strictEqual(await call(zk, 'create', '/n/es-', CreateMode.EPHEMERAL_SEQUENTIAL), '/n/es-0000000002');
  await call(zk, 'mkdirp', '/n/deep/er/path');
  await fails(Exception.NODE_EXISTS, call(zk, 'create', '/n'));
  await fails(Exception.NO_NODE, call(zk, 'create', '/missing/child'));
  await fails(Exception.NO_CHILDREN_FOR_EPHEMERALS, call(zk, 'create', '/n/e/child'));

  const [data, stat] = await call(zk, 'getData', '/n');
  assert.deepStrictEqual([data.toString(), stat.version, stat.numChildren, stat.dataLength], ['one', 0, 4, 3]);
  const set = await call(zk, 'setData', '/n', text('two!'), 0);
  assert.strictEqual(set.version, 1);
  await fails(Exception.BAD_VERSION, call(zk, 'setData', '/n', text(''), 0));
  assert.ok(!(await call(zk, 'exists', '/missing')));
  assert.strictEqual((await call(zk, 'exists', '/n')).dataLength, 4);
  const [names] = await call(zk, 'getChildren', '/n');
  assert.deepStrictEqual(names.sort(), ['deep', 'e', 'es-0000000002', 's-0000000001']);
  const [, ephemeral] = await call(zk, 'getData', '/n/e');
  assert.ok(ephemeral.ephemeralOwner.equals(zk.getSessionId()), 'the owner of an ephemeral node is its session');
  await fails(Exception.NOT_EMPTY, call(zk, 'remove', '/n'));
  await fails(Exception.BAD_VERSION, call(zk, 'remove', '/n/deep/er/path', 7));
  for (const path of ['/n/deep/er/path', '/n/deep/er', '/n/deep']) await call(zk, 'remove', path, 0);
  await fails(Exception.NO_NODE, call(zk, 'remove', '/n/deep'));
}

async function acls(zk) {
  const joe = new ACL(Permission.ALL, new Id('digest', 'u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ='));
  await call(zk, 'create', '/n/locked', text('secret'), [joe]);
  await fails(Exception.NO_AUTH, call(zk, 'getData', '/n/locked'));
  zk.addAuthInfo('digest', text('u:p'));
  assert.strictEqual((await call(zk, 'getData', '/n/locked'))[0].toString(), 'secret');
  const [list, stat] = await call(zk, 'getACL', '/n/locked');
  assert.deepStrictEqual([list.length, list[0].id.scheme, stat.aversion], [1, 'digest', 0]);
  await call(zk, 'setACL', '/n/locked', ACL.OPEN_ACL_UNSAFE, 0);
  await fails(Exception.BAD_VERSION, call(zk, 'setACL', '/n/locked', [joe], 0));
  await fails(Exception.INVALID_ACL, call(zk, 'setACL', '/n/locked', [new ACL(Permission.ALL, new Id('nonsense', 'x'))], -1));
}

async function transactions(zk) {
  const good = zk.transaction().check('/n', 1).create('/n/t', text('t')).setData('/n/t', text('u'))
    .create('/n/ts-', null, ACL.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL).remove('/n/s-0000000001');
  const results = await call(good, 'commit');
  assert.strictEqual(results.length, 5);
  assert.strictEqual(results[1].path, '/n/t');
  assert.match(results[3].path, /^\/n\/ts-00000000/);
  const bad = zk.transaction().create('/n/never').check('/n', 77).remove('/n/t');
  await call(bad, 'commit').then(() => assert.fail('a transaction with a failing check was committed'), () => {});
  assert.ok(!(await call(zk, 'exists', '/n/never')));
  assert.strictEqual((await call(zk, 'getData', '/n/t'))[0].toString(), 'u');
}

function watcher() {
  const events = [];
  let wake = () => {};
  return {
    put: (event) => { events.push(event); wake(); },
    next: async () => {
      const late = new Promise((_, reject) => setTimeout(() => reject(new Error('no watch event in 10 s')), 10000).unref());
      while (events.length === 0) await Promise.race([late, new Promise((resolve) => { wake = resolve; })]);
      const event = events.shift();
      return [event.getType(), event.getPath()];
    },
    count: () => events.length,
  };
}

async function watches(zk, other) {
  const seen = watcher();
  await call(zk, 'exists', '/w', seen.put);
  await call(other, 'create', '/w');
  assert.deepStrictEqual(await seen.next(), [Event.NODE_CREATED, '/w']);
  await call(zk, 'getData', '/w', seen.put);
  await call(other, 'setData', '/w', text('x'), -1);
  assert.deepStrictEqual(await seen.next(), [Event.NODE_DATA_CHANGED, '/w']);
  await call(zk, 'getChildren', '/w', seen.put);
  await call(other, 'create', '/w/c');
  assert.deepStrictEqual(await seen.next(), [Event.NODE_CHILDREN_CHANGED, '/w']);
  await call(zk, 'getData', '/w/c', seen.put);
  await call(other, 'remove', '/w/c');
  assert.deepStrictEqual(await seen.next(), [Event.NODE_DELETED, '/w/c']);
  await call(other, 'setData', '/w', text('y'), -1);
  await call(zk, 'exists', '/w');
  assert.strictEqual(seen.count(), 0, 'a one-shot watch fired twice');
}

async function reattach(zk, other) {
  const session = Buffer.from(zk.getSessionId());
  const seen = watcher();
  await call(zk, 'getData', '/w', seen.put);
  const lost = new Promise((resolve) => zk.once('disconnected', resolve));
  const back = lost.then(() => new Promise((resolve) => zk.once('connected', resolve)));
  console.log('CUT');
  await back;
  assert.strictEqual(zk.getState(), State.SYNC_CONNECTED);
  assert.ok(session.equals(zk.getSessionId()), 'a new session instead of the old one');
  assert.ok(await call(zk, 'exists', '/n/e'), 'the ephemeral node is gone');
  // The library sets its watches again (setWatches) after it is back.
  await call(zk, 'exists', '/w');
  if (other.getState() !== State.SYNC_CONNECTED) await new Promise((resolve) => other.once('connected', resolve));
  await call(other, 'setData', '/w', text('z'), -1);
  assert.deepStrictEqual(await seen.next(), [Event.NODE_DATA_CHANGED, '/w']);
  const closed = new Promise((resolve) => zk.once('disconnected', resolve));
  zk.close();
  await closed;
  for (let tries = 0; await call(other, 'exists', '/n/e'); tries += 1) {
    assert.ok(tries < 100, 'closing the session leaves its ephemeral node');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function main() {
  const zk = await connected();
  const other = await connected();
  await nodes(zk);
  await transactions(zk);
  await acls(zk);
  await watches(zk, other);
  await reattach(zk, other);
  other.close();
  console.log('DONE');
}

main().catch((error) => { console.error(error.stack || error); process.exit(1); });
