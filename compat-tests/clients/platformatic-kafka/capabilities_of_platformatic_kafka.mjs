// usage: node capabilities_of_platformatic_kafka.mjs BOOTSTRAP
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const { Admin, Consumer, Producer, ConfigResourceTypes, stringSerializers, stringDeserializers } = require('@platformatic/kafka')
const { allPublicCalls, assert, capability, unique, until } = require('../capabilities.js')

const base = { clientId: 'capabilities', bootstrapBrokers: process.argv[2].split(','), timeout: 10_000, retries: 3 }
const NOW = Date.now() - 60_000 // old records are deleted
const admin = new Admin(base)
let topic // of 2 partitions with 10 records each, one every millisecond from NOW on, in turn

async function newTopic (name, partitions = 1, configs = {}) {
  const made = unique(name)
  await admin.createTopics({ topics: [made], partitions, replicas: 1, configs: Object.entries(configs).map(([name, value]) => ({ name, value })) })
  await until('the topic is known', async () => {
    try {
      const metadata = await admin.metadata({ topics: [made], forceUpdate: true })
      return metadata.topics.get(made)?.partitionsCount === partitions
    } catch {
      return false
    }
  })
  return made
}

const plain = (topic, count, partitions = 1) => [...Array(count).keys()].map(number =>
  ({ topic, partition: number % partitions, key: `key-${number}`, value: `value-${number}`.repeat(10) }))

async function produce (messages, options = {}) {
  const producer = new Producer({ ...base, serializers: stringSerializers, autocreateTopics: true, ...options })
  try {
    return await producer.send({ messages })
  } finally {
    await producer.close()
  }
}

/** A member of the group that collects what it reads. */
async function member (groupId, topics, { mode = 'earliest', offsets, ...options } = {}) {
  const consumer = new Consumer({ ...base, groupId, deserializers: stringDeserializers, autocommit: false, maxWaitTime: 50, ...options })
  const stream = await consumer.consume({ topics, mode, offsets })
  const read = []
  stream.on('data', message => read.push(message))
  stream.on('error', error => console.error(error))
  return { consumer, stream, read, stop: async () => { await stream.close(); await consumer.close(true) } }
}

async function readAll (topic, count, options) {
  const reader = await member(unique('reader'), [topic], options)
  try {
    await until(`${count} messages`, () => reader.read.length >= count)
    assert.equal(reader.read.length, count)
    return reader.read
  } finally {
    await reader.stop()
  }
}

async function reading (group, options) {
  const reader = await member(group, [topic], options)
  await until('20 messages', () => reader.read.length === 20)
  return reader
}

async function committed (group) {
  const [found] = await admin.listConsumerGroupOffsets({ groups: [group] })
  const partitions = found.topics.find(({ name }) => name === topic)?.partitions ?? []
  return Object.fromEntries(partitions.map(({ partitionIndex, committedOffset }) => [partitionIndex, Number(committedOffset)]).sort())
}

const both = offset => [0, 1].map(partition => ({ topic, partition, offset: BigInt(offset), leaderEpoch: 0 }))

async function closedGroup () {
  const group = unique('closed')
  const reader = await reading(group)
  await reader.consumer.commit({ offsets: both(10) })
  await reader.stop()
  return group
}

async function records () {
  for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    if (compression === 'zstd' && !require('node:zlib').zstdCompressSync) continue // newer Node.js only
    await capability(`produce ${compression}`, async () => {
      const topic = await newTopic('codec')
      await produce(plain(topic, 100), { compression })
      assert.deepEqual((await readAll(topic, 100)).map(({ value }) => value), plain(topic, 100).map(({ value }) => value))
    })
  }
  await capability('produce idempotent', async () => {
    const topic = await newTopic('idempotent')
    await produce(plain(topic, 10), { idempotent: true })
    await readAll(topic, 10)
  })
  for (const acks of [0, 1]) {
    await capability(`produce acks=${acks}`, async () => {
      const topic = await newTopic('acks')
      await produce(plain(topic, 1))
      await produce(plain(topic, 10), { acks })
      await readAll(topic, 11)
    })
  }
  await capability('produce to a topic that is created by it', async () => {
    const topic = unique('automatic')
    await produce([{ topic, value: 'v' }])
    await readAll(topic, 1)
  })
  await capability('headers', async () => {
    const topic = await newTopic('headers')
    await produce([{ topic, value: 'v', headers: { a: '1', empty: '' } }])
    assert.deepEqual([...(await readAll(topic, 1))[0].headers], [['a', '1'], ['empty', '']])
  })
  await capability('tombstones', async () => {
    const topic = await newTopic('tombstones', 1, { 'cleanup.policy': 'compact' })
    await produce([{ topic, key: 'k', value: 'v' }, { topic, key: 'k' }])
    assert.equal((await readAll(topic, 2))[0].value, 'v')
  })
  await capability('large messages', async () => {
    const topic = await newTopic('large', 1, { 'max.message.bytes': '5000000' })
    const value = 'some bytes'.repeat(400_000)
    await produce([{ topic, value }])
    assert.equal((await readAll(topic, 1))[0].value, value)
  })
  await capability('timestamps: of the producer', async () => {
    const topic = await newTopic('timestamps')
    await produce([{ topic, value: 'v', timestamp: BigInt(NOW) }])
    assert.equal((await readAll(topic, 1))[0].timestamp, BigInt(NOW))
  })
}

async function positions () {
  await capability('seek', async () => {
    const offsets = [{ topic, partition: 0, offset: 7n }, { topic, partition: 1, offset: 10n }]
    const reader = await member(unique('seek'), [topic], { mode: 'manual', offsets })
    await until('three messages', () => reader.read.length === 3)
    assert.deepEqual(reader.read.map(({ offset }) => offset), [7n, 8n, 9n])
    await reader.stop()
  })
  await capability('pause and resume', async () => {
    const reader = await reading(unique('pause'))
    reader.stream.pause()
    reader.stream.resume()
    await reader.stop()
  })
  await capability('offsets for times', async () => {
    const consumer = new Consumer({ ...base, groupId: unique('times') })
    const found = await consumer.listOffsetsWithTimestamps({ topics: [topic], timestamp: BigInt(NOW + 5) })
    assert.equal(found.get(topic).get(0).offset, 3n)
    await consumer.close()
  })
  const consumer = new Consumer({ ...base, groupId: unique('positions') })
  await capability('consumer listOffsets', async () =>
    assert.deepEqual((await consumer.listOffsets({ topics: [topic], timestamp: -1n })).get(topic), [10n, 10n]))
  await capability('consumer findGroupCoordinator', async () => assert.ok(await consumer.findGroupCoordinator() !== undefined))
  await consumer.close()
  await capability('consumer listCommittedOffsets and getLag', async () => {
    const consumer = new Consumer({ ...base, groupId: await closedGroup() })
    assert.deepEqual((await consumer.listCommittedOffsets({ topics: [{ topic, partitions: [0, 1] }] })).get(topic), [10n, 10n])
    await consumer.close()
  })
}

async function groups () {
  const share = options => async () => {
    const topic = await newTopic('shared', 4)
    const group = unique('group')
    await produce(plain(topic, 40, 4))
    const first = await member(group, [topic], options)
    const second = await member(group, [topic], options)
    const owned = ({ consumer }) => consumer.assignments?.find(({ topic: name }) => name === topic)?.partitions.length
    await until('two each', () => owned(first) === 2 && owned(second) === 2)
    await second.stop()
    await until('all for the one that is left', () => owned(first) === 4)
    await first.stop()
  }
  await capability('group roundrobin', share({ heartbeatInterval: 300, sessionTimeout: 10_000, rebalanceTimeout: 10_000 }))
  await capability('group of KIP-848, uniform', share({ groupProtocol: 'consumer', groupRemoteAssignor: 'uniform', sessionTimeout: 10_000, rebalanceTimeout: 10_000 }))
}

async function commits () {
  await capability('commit of offsets', async () => {
    const group = unique('commit')
    const reader = await reading(group)
    await reader.consumer.commit({ offsets: both(4) })
    assert.deepEqual(await committed(group), { 0: 4, 1: 4 })
    await reader.stop()
  })
  await capability('commit of one message', async () => {
    const group = unique('commit')
    const reader = await reading(group)
    for (const message of reader.read) await message.commit()
    await until('committed', async () => JSON.stringify(await committed(group)) === '{"0":10,"1":10}')
    await reader.stop()
  })
  await capability('a group goes on where it has committed', async () => {
    const group = await closedGroup()
    await admin.alterConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 8n }] }] })
    const reader = await member(group, [topic], { mode: 'committed' })
    await until('two messages', () => reader.read.length === 2)
    assert.equal(reader.read[0].offset, 8n)
    await reader.stop()
  })
}

async function adminCalls () {
  const call = (name, body) => capability(`admin ${name}`, body)
  await call('listTopics of all', async () => assert.ok((await admin.listTopics()).includes(topic)))
  await call('metadata of all', async () => assert.ok((await admin.metadata({})).brokers.size === process.argv[2].split(',').length))
  await call('listApis', async () => assert.ok((await admin.listApis()).length > 10))
  await call('createTopics', () => newTopic('created', 3))
  await call('deleteTopics', async () => admin.deleteTopics({ topics: [await newTopic('deleted')] }))
  await call('createPartitions', async () => admin.createPartitions({ topics: [{ name: await newTopic('grown'), count: 5, assignments: null }] }))
  await call('deleteRecords', async () => {
    const name = await newTopic('shortened')
    await produce(plain(name, 10))
    const [{ partitions }] = await admin.deleteRecords({ topics: [{ name, partitions: [{ partition: 0, offset: 4n }] }] })
    assert.equal(partitions[0].lowWatermark, 4n)
  })
  await call('listOffsets', async () => admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -1n }] }] }))
  await call('listGroups of all', async () => {
    const group = await closedGroup()
    assert.ok((await admin.listGroups()).has(group))
  })
  await call('describeGroups', async () => {
    const group = await closedGroup()
    assert.equal((await admin.describeGroups({ groups: [group] })).get(group).state, 'Empty')
  })
  await call('findCoordinator', async () => {
    const [{ nodeId }] = await admin.findCoordinator({ keyType: 0, keys: ['any'] })
    assert.ok((await admin.metadata({})).brokers.has(nodeId))
  })
  await call('listConsumerGroupOffsets of all partitions', async () => assert.deepEqual(await committed(await closedGroup()), { 0: 10, 1: 10 }))
  await call('alterConsumerGroupOffsets', async () => {
    const group = await closedGroup()
    await admin.alterConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 3n }] }] })
    assert.deepEqual(await committed(group), { 0: 3, 1: 10 })
  })
  await call('deleteConsumerGroupOffsets', async () => {
    const group = await closedGroup()
    await admin.deleteConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionIndexes: [0] }] })
    assert.deepEqual(await committed(group), { 1: 10 })
  })
  await call('removeMembersFromConsumerGroup of all', async () => {
    const reader = await reading(unique('removed'))
    await admin.removeMembersFromConsumerGroup({ groupId: reader.consumer.groupId, members: null })
    await reader.stop()
  })
  await call('deleteGroups', async () => admin.deleteGroups({ groups: [await closedGroup()] }))
  const { TOPIC } = ConfigResourceTypes
  const configOf = async (name, key) => {
    const [{ configs }] = await admin.describeConfigs({ resources: [{ resourceType: TOPIC, resourceName: name }], includeSynonyms: true, includeDocumentation: true })
    return configs.find(config => config.name === key)?.value
  }
  await call('describeConfigs of a topic', async () => assert.equal(await configOf(topic, 'cleanup.policy'), 'delete'))
  await call('alterConfigs', async () =>
    admin.alterConfigs({ resources: [{ resourceType: TOPIC, resourceName: await newTopic('altered'), configs: [{ name: 'retention.ms', value: '5000' }] }] }))
  await call('incrementalAlterConfigs', async () => {
    const resourceName = await newTopic('altered')
    await admin.incrementalAlterConfigs({ resources: [{ resourceType: TOPIC, resourceName, configs: [{ name: 'cleanup.policy', configOperation: 2, value: 'compact' }] }] })
    await until('altered', async () => await configOf(resourceName, 'cleanup.policy') === 'delete,compact')
  })
  await call('describeLogDirs', async () => assert.ok((await admin.describeLogDirs({ topics: [{ name: topic, partitions: [0, 1] }] }))[0].results.length > 0))
  await call('describeClientQuotas of all', () => admin.describeClientQuotas({ components: [] }))
  await call('alterClientQuotas', () =>
    admin.alterClientQuotas({ entries: [{ entities: [{ entityType: 'user', entityName: unique('user') }], ops: [{ key: 'producer_byte_rate', value: 1e6, remove: false }] }] }))
  const anything = { resourceType: 1, resourceName: null, resourcePatternType: 1, principal: null, host: null, operation: 1, permissionType: 1 }
  const acl = { resourceType: 2, resourceName: topic, resourcePatternType: 3, principal: 'User:ann', host: '*', operation: 3, permissionType: 3 }
  await call('describeAcls without an authorizer', () => assert.rejects(admin.describeAcls({ filter: anything })))
  await call('createAcls without an authorizer', () => assert.rejects(admin.createAcls({ creations: [acl] })))
  await call('deleteAcls without an authorizer', () => assert.rejects(admin.deleteAcls({ filters: [anything] })))
  await allPublicCalls('admin', Object.getOwnPropertyNames(Admin.prototype), ['constructor'])
}

topic = await newTopic('platformatic', 2)
await produce([...Array(20).keys()].map(number =>
  ({ topic, partition: number % 2, key: `key-${number}`, value: `value-${number}`, timestamp: BigInt(NOW + number) })))
for (const part of [records, positions, groups, commits, adminCalls]) await part()
process.exit(0)
