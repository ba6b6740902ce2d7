'use strict';
const assert = require('node:assert');
const { test } = require('node:test');
const { startBroker } = require('ottla');
const { comesBack } = require('./record.js');

test('a record comes back', async () => {
  const broker = await startBroker({ config: { 'num.partitions': 3 } });
  assert.deepStrictEqual(broker.brokers, [broker.bootstrap]);
  assert.strictEqual(await comesBack(broker.brokers, 'topic'), 'value');
  await broker.stop();
  assert.throws(() => process.kill(broker.pid, 0), { code: 'ESRCH' });
});

test('a start that is refused says why', async () => {
  const started = startBroker({ config: { 'num.partitions': 'many' } });
  await assert.rejects(started, /did not start \(2\).*num\.partitions/s);
});

test('modules have it, too, and nobody has to stop it', async () => {
  const { startBroker } = await import('ottla');
  const brokers = await Promise.all([startBroker(), startBroker({ args: ['--log-level', 'debug'] })]);
  assert.notStrictEqual(brokers[0].bootstrap, brokers[1].bootstrap);
});
