// usage: node capabilities_of_kafkajs.js BOOTSTRAP
'use strict'
const { Kafka, logLevel, CompressionTypes, CompressionCodecs, AclResourceTypes, AclOperationTypes, AclPermissionTypes, ResourcePatternTypes, ConfigResourceTypes, AssignerProtocol } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
const { allPublicCalls, assert, capability, unique, until } = require('../capabilities.js')

const kafka = new Kafka({ brokers: process.argv[2].split(','), logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50 } })
const admin = kafka.admin()
const NOW = Date.now() - 60_000 // old records are deleted
let topic // of 2 partitions with 10 records each, one every millisecond from NOW on, in turn

async function newTopic (name, numPartitions = 1, configs = {}) {
  const made = unique(name)
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  await admin.createTopics({ topics: [{ topic: made, numPartitions, replicationFactor: 1, configEntries }], waitForLeaders: true })
  // Kafka tells who leads a partition before it leads it. kafkajs sends all partitions again then, and what was stored is stored twice.
  await until('its leaders answer', async () => {
    try {
      return (await admin.fetchTopicOffsets(made)).length === numPartitions
    } catch (error) {
      if (!error.retriable) throw error
    }
  })
  return made
}

const plain = (count, partitions = 1) => [...Array(count).keys()].map(number =>
  ({ partition: number % partitions, key: `key-${number}`, value: `value-${number}`.repeat(10) }))

async function produce (topic, messages, { config = {}, ...options } = {}) {
  const producer = kafka.producer(config)
  await producer.connect()
  try {
    return await producer.send({ topic, messages, ...options })
  } finally {
    await producer.disconnect()
  }
}

/** A member of the group that collects what it reads. */
async function member (groupId, topics, { run = {}, fromBeginning = true, ...config } = {}) {
  const consumer = kafka.consumer({ groupId, heartbeatInterval: 300, maxWaitTimeInMs: 50, rebalanceTimeout: 10_000, ...config })
  const read = []
  const joined = []
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => joined.push(payload))
  await consumer.connect()
  await consumer.subscribe({ topics, fromBeginning })
  await consumer.run({ autoCommit: false, eachMessage: async record => { read.push(record) }, ...run })
  return { consumer, read, joined, stop: () => consumer.disconnect() }
}

async function readAll (topic, count, config) {
  const reader = await member(unique('reader'), [topic], config)
  try {
    await until(`${count} messages`, () => reader.read.length >= count)
    assert.equal(reader.read.length, count)
    return reader.read.map(({ message }) => message)
  } finally {
    await reader.stop()
  }
}

async function reading (groupId, config) {
  const reader = await member(groupId, [topic], config)
  await until('20 messages', () => reader.read.length === 20)
  return reader
}

async function committed (groupId) {
  const [found] = await admin.fetchOffsets({ groupId, topics: [topic] })
  return Object.fromEntries(found.partitions.map(({ partition, offset }) => [partition, Number(offset)]))
}

async function closedGroup () {
  const group = unique('closed')
  const reader = await reading(group)
  await reader.consumer.commitOffsets([0, 1].map(partition => ({ topic, partition, offset: '10' })))
  await reader.stop()
  return group
}

async function records () {
  for (const [name, compression] of Object.entries({ none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy })) {
    await capability(`produce ${name}`, async () => {
      const topic = await newTopic('codec')
      await produce(topic, plain(100), { compression })
      const read = await readAll(topic, 100)
      assert.deepEqual(read.map(({ value }) => String(value)), plain(100).map(({ value }) => value))
    })
  }
  await capability('produce idempotent', async () => {
    const topic = await newTopic('idempotent')
    await produce(topic, plain(10), { config: { idempotent: true } })
    await readAll(topic, 10)
  })
  for (const acks of [0, 1]) {
    await capability(`produce acks=${acks}`, async () => {
      const topic = await newTopic('acks')
      await produce(topic, plain(1))
      await produce(topic, plain(10), { acks })
      await readAll(topic, 11)
    })
  }
  await capability('produce to several topics at once', async () => {
    const topics = [await newTopic('batch'), await newTopic('batch')]
    const producer = kafka.producer()
    await producer.connect()
    await producer.sendBatch({ topicMessages: topics.map(topic => ({ topic, messages: plain(5) })) })
    await producer.disconnect()
    for (const topic of topics) await readAll(topic, 5)
  })
  await capability('produce to a topic that is created by it', async () => {
    const topic = unique('automatic')
    await produce(topic, [{ value: 'v' }])
    await readAll(topic, 1)
  })
  await capability('headers', async () => {
    const topic = await newTopic('headers')
    await produce(topic, [{ value: 'v', headers: { a: ['1', '2'], empty: '' } }])
    const [{ headers }] = await readAll(topic, 1)
    assert.deepEqual([headers.a.map(String), String(headers.empty)], [['1', '2'], ''])
  })
  await capability('tombstones', async () => {
    const topic = await newTopic('tombstones', 1, { 'cleanup.policy': 'compact' })
    await produce(topic, [{ key: 'k', value: 'v' }, { key: 'k', value: null }, { key: 'k', value: '' }])
    assert.deepEqual((await readAll(topic, 3)).map(({ value }) => value && String(value)), ['v', null, ''])
  })
  await capability('empty and null keys', async () => {
    const topic = await newTopic('keys')
    await produce(topic, [{ key: null, value: 'a' }, { key: '', value: 'b' }])
    assert.deepEqual((await readAll(topic, 2)).map(({ key }) => key && String(key)), [null, ''])
  })
  await capability('large messages', async () => {
    const topic = await newTopic('large', 1, { 'max.message.bytes': '5000000' })
    const value = Buffer.alloc(4 << 20, 'some bytes')
    await produce(topic, [{ value }])
    assert.ok((await readAll(topic, 1, { maxBytesPerPartition: 5_000_000 }))[0].value.equals(value))
  })
  await capability('a message that is too large is refused', async () => {
    const topic = await newTopic('large', 1, { 'max.message.bytes': '1000' })
    await assert.rejects(produce(topic, [{ value: 'v'.repeat(2000) }]), { type: 'MESSAGE_TOO_LARGE' })
  })
  await capability('timestamps: of the producer', async () => {
    const topic = await newTopic('timestamps')
    await produce(topic, [{ value: 'v', timestamp: String(NOW) }])
    assert.equal((await readAll(topic, 1))[0].timestamp, String(NOW))
  })
  await capability('timestamps: of the log', async () => {
    const topic = await newTopic('timestamps', 1, { 'message.timestamp.type': 'LogAppendTime' })
    await produce(topic, [{ value: 'v', timestamp: String(NOW) }])
    assert.ok(Number((await readAll(topic, 1))[0].timestamp) > NOW)
  })
}

async function positions () {
  await capability('seek', async () => {
    const reader = await reading(unique('seek'))
    reader.read.length = 0
    reader.consumer.seek({ topic, partition: 0, offset: '7' })
    await until('three again', () => reader.read.length === 3)
    assert.deepEqual(reader.read.map(({ message }) => message.offset), ['7', '8', '9'])
    await reader.stop()
  })
  await capability('pause and resume', async () => {
    const reader = await reading(unique('pause'))
    reader.consumer.pause([{ topic }])
    reader.read.length = 0
    reader.consumer.seek({ topic, partition: 0, offset: '5' })
    reader.consumer.resume([{ topic }])
    await until('five again', () => reader.read.length === 5)
    await reader.stop()
  })
  await capability('offsets for times', async () => {
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, NOW + 5)
    assert.deepEqual(found.map(({ partition, offset }) => [partition, offset]).sort(), [[0, '3'], [1, '2']])
  })
}

async function groups () {
  const assigners = { roundrobin: undefined, range: rangeAssigner }
  for (const [name, assigner] of Object.entries(assigners)) {
    await capability(`group ${name}`, async () => {
      const topic = await newTopic('shared', 4)
      const group = unique('group')
      await produce(topic, plain(40, 4))
      const config = assigner ? { partitionAssigners: [assigner] } : {}
      const first = await member(group, [topic], config)
      const second = await member(group, [topic], config)
      const owned = ({ joined }) => joined.at(-1)?.memberAssignment[topic]?.length
      await until('two each', () => owned(first) === 2 && owned(second) === 2)
      await second.stop()
      await until('all for the one that is left', () => owned(first) === 4)
      const seen = () => new Set(first.read.map(({ partition, message }) => `${partition}/${message.offset}`)).size
      await until('every message', () => seen() === 40)
      await first.stop()
    })
  }
  await capability('subscribe by pattern', async () => {
    const prefix = unique('pattern')
    for (const end of ['-a', '-b']) await produce(prefix + end, plain(5))
    const reader = await member(unique('group'), [new RegExp(`^${prefix}-.*`)])
    await until('ten messages', () => reader.read.length === 10)
    await reader.stop()
  })
  await capability('consumer describeGroup', async () => {
    const reader = await reading(unique('described'))
    assert.equal((await reader.consumer.describeGroup()).state, 'Stable')
    await reader.stop()
  })
}

/** kafkajs has round robin only; its documentation shows how to bring another one. */
const rangeAssigner = ({ cluster }) => ({
  name: 'range',
  version: 0,
  async assign ({ members, topics }) {
    const ids = members.map(({ memberId }) => memberId).sort()
    const assignment = Object.fromEntries(ids.map(id => [id, {}]))
    for (const topic of topics) {
      const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId).sort((a, b) => a - b)
      const share = Math.ceil(partitions.length / ids.length)
      ids.forEach((id, index) => { assignment[id][topic] = partitions.slice(index * share, (index + 1) * share) })
    }
    return ids.map(memberId => ({ memberId, memberAssignment: AssignerProtocol.MemberAssignment.encode({ version: 0, assignment: assignment[memberId] }) }))
  },
  protocol: ({ topics }) => ({ name: 'range', metadata: AssignerProtocol.MemberMetadata.encode({ version: 0, topics }) })
})

async function commits () {
  const form = (name, expected, commit, config) => capability(`commit ${name}`, async () => {
    const group = unique('commit')
    const reader = await reading(group, config)
    await commit(reader, group)
    await until('committed', async () => JSON.stringify(await committed(group)) === JSON.stringify(expected))
    await reader.stop()
  })
  await form('of offsets', { 0: 3, 1: 4 }, ({ consumer }) => consumer.commitOffsets([{ topic, partition: 0, offset: '3' }, { topic, partition: 1, offset: '4' }]))
  await form('automatic', { 0: 10, 1: 10 }, async () => {}, { run: { autoCommit: true, autoCommitInterval: 100 } })
  await capability('commit with metadata', async () => {
    const group = unique('commit')
    const reader = await reading(group)
    await reader.consumer.commitOffsets([{ topic, partition: 0, offset: '3', metadata: 'mine \u00e9' }])
    const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
    assert.equal(partitions.find(({ partition }) => partition === 0).metadata, 'mine \u00e9')
    await reader.stop()
  })
  await capability('a group goes on where it has committed', async () => {
    const group = await closedGroup()
    await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '8' }] })
    const reader = await member(group, [topic])
    await until('two messages', () => reader.read.length === 2)
    assert.deepEqual(reader.read.map(({ message }) => message.offset), ['8', '9'])
    await reader.stop()
  })
}

async function transactions () {
  const transactional = async (transactionalId = unique('transaction'), options = {}) => {
    const producer = kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1, retry: { retries: 3 }, ...options })
    await producer.connect()
    return producer
  }
  const run = (name, values) => capability(`transaction ${name}`, async () => {
    const topic = await newTopic('transaction')
    const producer = await transactional()
    for (const value of values) {
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: [{ value }] })
      await (value === 'aborted' ? transaction.abort() : transaction.commit())
    }
    await producer.disconnect()
    assert.equal(String((await readAll(topic, 1, { readUncommitted: false }))[0].value), 'committed')
  })
  await run('committed', ['committed'])
  await run('aborted', ['aborted', 'committed'])
  await capability('transaction with offsets', async () => {
    const group = unique('group')
    const producer = await transactional()
    const transaction = await producer.transaction()
    await transaction.sendOffsets({ consumerGroupId: group, topics: [{ topic, partitions: [{ partition: 0, offset: '5' }] }] })
    await transaction.commit()
    await producer.disconnect()
    await until('committed', async () => (await committed(group))[0] === 5)
  })
  const readCommitted = async (topic, values) => {
    const read = await readAll(topic, values.length, { readUncommitted: false })
    assert.deepEqual(read.map(({ value }) => String(value)).sort(), values.sort())
  }
  await capability('transaction read-process-write', async () => {
    const group = unique('group')
    const processed = await newTopic('transaction')
    const reader = await reading(group)
    const producer = await transactional()
    const partitions = [0, 1].map(partition => ({ partition, offset: '10' }))
    const copies = prefix => reader.read.map(({ message }) => prefix + message.value)
    for (const [prefix, end, offset] of [['aborted ', 'abort', -1], ['committed ', 'commit', 10]]) {
      const transaction = await producer.transaction()
      await transaction.send({ topic: processed, messages: copies(prefix).map(value => ({ value })) })
      await transaction.sendOffsets({ consumerGroupId: group, topics: [{ topic, partitions }] })
      await transaction[end]()
      await until(end, async () => JSON.stringify(await committed(group)) === JSON.stringify({ 0: offset, 1: offset }))
    }
    await producer.disconnect()
    await reader.stop()
    await readCommitted(processed, copies('committed '))
  })
  await capability('transaction of a zombie refused', async () => {
    const topic = await newTopic('transaction')
    const name = unique('transaction')
    const zombie = await transactional(name)
    const late = await zombie.transaction()
    await late.send({ topic, messages: [{ value: 'zombie' }] })
    const successor = await transactional(name)
    const transaction = await successor.transaction()
    await transaction.send({ topic, messages: [{ value: 'committed' }] })
    await transaction.commit()
    await successor.disconnect()
    await assert.rejects(late.commit())
    await zombie.disconnect()
    await readCommitted(topic, ['committed'])
  })
  await capability('transaction timed out', async () => {
    const topic = await newTopic('transaction')
    const producer = await transactional(undefined, { transactionTimeout: 1000 })
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: [{ value: 'late' }] })
    await produce(topic, [{ value: 'behind it' }])
    await readCommitted(topic, ['behind it'])
    await assert.rejects(transaction.commit())
    await producer.disconnect()
  })
}

async function adminCalls () {
  const call = (name, body) => capability(`admin ${name}`, body)
  await call('listTopics of all', async () => assert.ok((await admin.listTopics()).includes(topic)))
  await call('fetchTopicMetadata of all', async () => assert.ok((await admin.fetchTopicMetadata()).topics.some(({ name }) => name === topic)))
  await call('fetchTopicMetadata', async () => assert.equal((await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length, 2))
  await call('describeCluster', async () => {
    const { brokers, controller, clusterId } = await admin.describeCluster()
    assert.ok(brokers.length === process.argv[2].split(',').length && brokers.some(broker => broker.nodeId === controller) && clusterId)
  })
  await call('createTopics', async () => assert.equal(await admin.createTopics({ topics: [{ topic }] }), false))
  await call('createTopics validated only', () => admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [{ topic: unique('created') }] }))
  await call('deleteTopics', async () => admin.deleteTopics({ topics: [await newTopic('deleted')] }))
  await call('createPartitions', async () => admin.createPartitions({ topicPartitions: [{ topic: await newTopic('grown'), count: 5 }] }))
  await call('deleteTopicRecords', async () => {
    const topic = await newTopic('shortened')
    await produce(topic, plain(10))
    await admin.fetchTopicMetadata({ topics: [topic] }) // kafkajs asks no broker that it has not met
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
    assert.equal((await admin.fetchTopicOffsets(topic))[0].low, '4')
  })
  await call('fetchTopicOffsets', async () => assert.deepEqual((await admin.fetchTopicOffsets(topic)).map(({ low, high }) => [low, high]), [['0', '10'], ['0', '10']]))
  await call('fetchTopicOffsetsByTimestamp', async () => admin.fetchTopicOffsetsByTimestamp(topic))
  await call('listGroups of all', async () => {
    const group = await closedGroup()
    assert.ok((await admin.listGroups()).groups.some(({ groupId }) => groupId === group))
  })
  await call('describeGroups', async () => assert.equal((await admin.describeGroups([await closedGroup()])).groups[0].state, 'Empty'))
  await call('fetchOffsets of all partitions', async () => {
    const [found] = await admin.fetchOffsets({ groupId: await closedGroup() })
    assert.deepEqual(found.partitions.map(({ offset }) => offset), ['10', '10'])
  })
  await call('fetchOffsets', async () => assert.deepEqual(await committed(await closedGroup()), { 0: 10, 1: 10 }))
  await call('setOffsets', async () => {
    const group = await closedGroup()
    await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '3' }] })
    assert.equal((await committed(group))[0], 3)
  })
  await call('resetOffsets', async () => {
    const group = await closedGroup()
    await admin.resetOffsets({ groupId: group, topic, earliest: true })
    await admin.fetchOffsets({ groupId: group, topics: [topic], resolveOffsets: true })
  })
  await call('deleteGroups', async () => admin.deleteGroups([await closedGroup()]))
  const configOf = async (type, name, key) => {
    const { resources: [{ configEntries }] } = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type, name }] })
    return configEntries.find(({ configName }) => configName === key)?.configValue
  }
  await call('describeConfigs of a topic', async () => assert.equal(await configOf(ConfigResourceTypes.TOPIC, topic, 'cleanup.policy'), 'delete'))
  await call('describeConfigs of a broker', async () => assert.equal(await configOf(ConfigResourceTypes.BROKER, '1', 'log.retention.hours'), '168'))
  await call('alterConfigs', async () => {
    const name = await newTopic('altered')
    await admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name, configEntries: [{ name: 'retention.ms', value: '5000' }] }] })
    await until('altered', async () => await configOf(ConfigResourceTypes.TOPIC, name, 'retention.ms') === '5000')
  })
  await call('alterPartitionReassignments', async () => {
    const { topics: [{ partitions }] } = await admin.fetchTopicMetadata({ topics: [topic] })
    const [{ replicas }] = partitions.filter(({ partitionId }) => partitionId === 0)
    await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment: [{ partition: 0, replicas }] }] })
  })
  await call('listPartitionReassignments of all', async () => assert.deepEqual((await admin.listPartitionReassignments({ topics: null })).topics, []))
  const anything = { resourceType: AclResourceTypes.ANY, resourcePatternType: ResourcePatternTypes.ANY, operation: AclOperationTypes.ANY, permissionType: AclPermissionTypes.ANY }
  const acl = { resourceType: AclResourceTypes.TOPIC, resourceName: topic, resourcePatternType: ResourcePatternTypes.LITERAL, principal: 'User:ann', host: '*', operation: AclOperationTypes.READ, permissionType: AclPermissionTypes.ALLOW }
  const disabled = { type: 'SECURITY_DISABLED' }
  await call('describeAcls without an authorizer', () => assert.rejects(admin.describeAcls(anything), disabled))
  await call('createAcls without an authorizer', () => assert.rejects(admin.createAcls({ acl: [acl] }), disabled))
  await call('deleteAcls without an authorizer', () => assert.rejects(admin.deleteAcls({ filters: [anything] }), disabled))
  await allPublicCalls('admin', Object.keys(admin), ['connect', 'disconnect', 'events', 'on', 'logger'])
}

async function main () {
  await admin.connect()
  topic = await newTopic('kafkajs', 2)
  await produce(topic, [...Array(20).keys()].map(number =>
    ({ partition: number % 2, key: `key-${number}`, value: `value-${number}`, timestamp: String(NOW + number) })))
  for (const part of [records, positions, groups, commits, transactions, adminCalls]) await part()
  await admin.disconnect()
  process.exit(0)
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
