// usage: node capabilities_of_confluent_kafka_javascript.js BOOTSTRAP
'use strict'
const { AdminClient, KafkaJS: { Kafka, logLevel, CompressionTypes, ErrorCodes, ConsumerGroupStates } } = require('@confluentinc/kafka-javascript')
const { allPublicCalls, assert, capability, unique, until } = require('../capabilities.js')

const [,, bootstrap] = process.argv
const kafka = new Kafka({ kafkaJS: { brokers: bootstrap.split(','), logLevel: logLevel.NOTHING } })
const admin = kafka.admin()
// What only the older interface with callbacks has.
const older = AdminClient.create({ 'bootstrap.servers': bootstrap })
const timeout = 30_000
const NOW = Date.now() - 60_000 // old records are deleted
let topic // of 2 partitions with 10 records each, one every millisecond from NOW on, in turn

async function newTopic (name, numPartitions = 1, configs = {}) {
  const made = unique(name)
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  await admin.createTopics({ topics: [{ topic: made, numPartitions, replicationFactor: 1, configEntries }], timeout })
  await until('the topic has leaders', async () => await leaders(made) === numPartitions)
  return made
}

async function leaders (topic) {
  try {
    const [{ partitions }] = await admin.fetchTopicMetadata({ topics: [topic], timeout })
    return partitions.filter(({ leader }) => leader >= 0).length
  } catch (error) {
    // Kafka's controller answers before its broker knows the topic.
    if (error.code === ErrorCodes.ERR_UNKNOWN_TOPIC_OR_PART) return 0
    throw error
  }
}

const plain = (count, partitions = 1) => [...Array(count).keys()].map(number =>
  ({ partition: number % partitions, key: `key-${number}`, value: `value-${number}`.repeat(10) }))

async function produce (topic, messages, kafkaJS = {}, outer = {}) {
  const producer = kafka.producer({ kafkaJS, 'linger.ms': 5, ...outer })
  await producer.connect()
  try {
    return await producer.send({ topic, messages })
  } finally {
    await producer.disconnect()
  }
}

/** A member of the group that collects what it reads. */
async function member (groupId, topics, outer = {}, kafkaJS = {}) {
  const own = outer['group.protocol'] === 'consumer' ? {} : { heartbeatInterval: 300, sessionTimeout: 10_000 }
  const consumer = kafka.consumer({ kafkaJS: { groupId, fromBeginning: true, autoCommit: false, maxWaitTimeInMs: 50, ...own, ...kafkaJS }, ...outer })
  const read = []
  await consumer.connect()
  await consumer.subscribe({ topics })
  await consumer.run({ eachMessage: async record => { read.push(record) } })
  return { consumer, read, stop: () => consumer.disconnect() }
}

async function readAll (topic, count, outer, kafkaJS) {
  const reader = await member(unique('reader'), [topic], outer, kafkaJS)
  try {
    await until(`${count} messages`, () => reader.read.length >= count)
    assert.equal(reader.read.length, count)
    return reader.read.map(({ message }) => message)
  } finally {
    await reader.stop()
  }
}

async function reading (groupId, outer, kafkaJS) {
  const reader = await member(groupId, [topic], outer, kafkaJS)
  await until('20 messages', () => reader.read.length === 20)
  return reader
}

async function committed (groupId) {
  const [found] = await admin.fetchOffsets({ groupId, topics: [topic], timeout })
  return Object.fromEntries((found?.partitions ?? []).map(({ partition, offset }) => [partition, Number(offset)]))
}

const both = (first, second) => [first, second].map((offset, partition) => ({ topic, partition, offset: String(offset) }))

async function closedGroup () {
  const group = unique('closed')
  const reader = await reading(group)
  await reader.consumer.commitOffsets(both(10, 10))
  await reader.stop()
  return group
}

async function records () {
  for (const [name, compression] of Object.entries({ none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.SNAPPY, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD })) {
    await capability(`produce ${name}`, async () => {
      const topic = await newTopic('codec')
      await produce(topic, plain(100), { compression })
      const read = await readAll(topic, 100)
      assert.deepEqual(read.map(({ value }) => String(value)), plain(100).map(({ value }) => value))
    })
  }
  await capability('produce idempotent', async () => {
    const topic = await newTopic('idempotent')
    await produce(topic, plain(10), { idempotent: true })
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
    await produce(topic, [{ key: 'k', value: 'v' }, { key: 'k', value: null }]) // it sends an empty value as null
    assert.deepEqual((await readAll(topic, 2)).map(({ value }) => value && String(value)), ['v', null])
  })
  await capability('empty and null keys', async () => {
    const topic = await newTopic('keys')
    await produce(topic, [{ key: null, value: 'a' }, { key: '', value: 'b' }])
    assert.deepEqual((await readAll(topic, 2)).map(({ key }) => key && String(key)), [null, ''])
  })
  await capability('large messages', async () => {
    const topic = await newTopic('large', 1, { 'max.message.bytes': '5000000' })
    const value = Buffer.alloc(4 << 20, 'some bytes')
    await produce(topic, [{ value }], {}, { 'message.max.bytes': 5_000_000 })
    assert.ok((await readAll(topic, 1))[0].value.equals(value))
  })
  await capability('a message that is too large is refused', async () => {
    const topic = await newTopic('large', 1, { 'max.message.bytes': '1000' })
    await assert.rejects(produce(topic, [{ value: 'v'.repeat(2000) }]), { code: ErrorCodes.ERR_MSG_SIZE_TOO_LARGE })
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
  await capability('seek to the beginning and the end', async () => {
    const reader = await reading(unique('seek'))
    reader.read.length = 0
    reader.consumer.seek({ topic, partition: 0, offset: '-2' })
    await until('ten again', () => reader.read.length === 10)
    await reader.stop()
  })
  await capability('pause and resume', async () => {
    const reader = await reading(unique('pause'))
    reader.consumer.pause([{ topic }])
    assert.equal(reader.consumer.paused()[0].partitions.length, 2)
    reader.read.length = 0
    reader.consumer.seek({ topic, partition: 0, offset: '5' })
    reader.consumer.resume([{ topic }])
    await until('five again', () => reader.read.length === 5)
    await reader.stop()
  })
  await capability('offsets for times', async () => {
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, NOW + 5, { timeout })
    assert.deepEqual(found.map(({ partition, offset }) => [partition, offset]).sort(), [[0, '3'], [1, '2']])
  })
}

async function groups () {
  const share = outer => async () => {
    const topic = await newTopic('shared', 4)
    const group = unique('group')
    await produce(topic, plain(40, 4))
    const first = await member(group, [topic], outer)
    const second = await member(group, [topic], outer)
    const owned = ({ consumer }) => consumer.assignment().length
    await until('two each', () => owned(first) === 2 && owned(second) === 2)
    await second.stop()
    await until('all for the one that is left', () => owned(first) === 4)
    const seen = () => new Set(first.read.map(({ partition, message }) => `${partition}/${message.offset}`)).size
    await until('every message', () => seen() === 40)
    await first.stop()
  }
  for (const assignor of ['range', 'roundrobin', 'cooperative-sticky']) {
    await capability(`group ${assignor}`, share({ 'partition.assignment.strategy': assignor }))
  }
  for (const assignor of ['range', 'uniform']) {
    await capability(`group of KIP-848, ${assignor}`, share({ 'group.protocol': 'consumer', 'group.remote.assignor': assignor }))
  }
  await capability('group of static members', async () => {
    const group = unique('static')
    for (let times = 0; times < 2; times++) await (await reading(group, { 'group.instance.id': 'one' })).stop()
  })
  for (const [suffix, outer] of Object.entries({ '': {}, ', KIP-848': { 'group.protocol': 'consumer' } })) {
    await capability('subscribe by pattern' + suffix, async () => {
      const prefix = unique('pattern')
      for (const end of ['-a', '-b']) await produce(prefix + end, plain(5))
      const reader = await member(unique('group'), [new RegExp(`^${prefix}-.*`)], outer)
      await until('ten messages', () => reader.read.length === 10)
      await reader.stop()
    })
  }
}

async function commits () {
  const form = (name, expected, commit, kafkaJS) => capability(`commit ${name}`, async () => {
    const group = unique('commit')
    const reader = await reading(group, {}, kafkaJS)
    await commit(reader.consumer)
    await until('committed', async () => JSON.stringify(await committed(group)) === JSON.stringify(expected))
    await reader.stop()
  })
  await form('synchronous', { 0: 10, 1: 10 }, consumer => consumer.commitOffsets())
  await form('of offsets', { 0: 3, 1: 4 }, consumer => consumer.commitOffsets(both(3, 4)))
  await form('automatic', { 0: 10, 1: 10 }, () => {}, { autoCommit: true, autoCommitInterval: 100 })
  await capability('commit with metadata', async () => {
    const group = unique('commit')
    const reader = await reading(group)
    await reader.consumer.commitOffsets([{ topic, partition: 0, offset: '3', metadata: 'mine \u00e9' }])
    const [found] = await reader.consumer.committed([{ topic, partition: 0 }], timeout)
    assert.deepEqual([found.offset, found.metadata], ['3', 'mine \u00e9'])
    await reader.stop()
  })
  await capability('a group goes on where it has committed', async () => {
    const group = unique('commit')
    const reader = await reading(group)
    await reader.consumer.commitOffsets(both(8, 9))
    await reader.stop()
    const next = await member(group, [topic])
    await until('three messages', () => next.read.length === 3)
    assert.deepEqual(next.read.map(({ partition, message }) => `${partition}/${message.offset}`).sort(), ['0/8', '0/9', '1/9'])
    await next.stop()
  })
}

async function transactions () {
  const transactional = async (transactionalId = unique('transaction'), options = {}) => {
    const producer = kafka.producer({ kafkaJS: { transactionalId, ...options } })
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
    assert.equal(String((await readAll(topic, 1))[0].value), 'committed')
  })
  await run('committed', ['committed'])
  await run('aborted', ['aborted', 'committed'])
  await capability('transaction with offsets', async () => {
    const group = unique('group')
    const { consumer, stop } = await reading(group)
    const producer = await transactional()
    const transaction = await producer.transaction()
    await transaction.sendOffsets({ consumer, topics: [{ topic, partitions: [{ partition: 0, offset: '5' }] }] })
    await transaction.commit()
    await producer.disconnect()
    await stop()
    await until('committed', async () => (await committed(group))[0] === 5)
  })
  const readCommitted = async (topic, values) => {
    const read = await readAll(topic, values.length)
    assert.deepEqual(read.map(({ value }) => String(value)).sort(), values.sort())
  }
  await capability('transaction read-process-write', async () => {
    const group = unique('group')
    const processed = await newTopic('transaction')
    const { consumer, read, stop } = await reading(group)
    const producer = await transactional()
    const partitions = [0, 1].map(partition => ({ partition, offset: '10' }))
    const copies = prefix => read.map(({ message }) => prefix + message.value)
    for (const [prefix, end, offsets] of [['aborted ', 'abort', {}], ['committed ', 'commit', { 0: 10, 1: 10 }]]) {
      const transaction = await producer.transaction()
      await transaction.send({ topic: processed, messages: copies(prefix).map(value => ({ value })) })
      await transaction.sendOffsets({ consumer, topics: [{ topic, partitions }] })
      await transaction[end]()
      await until(end, async () => JSON.stringify(await committed(group)) === JSON.stringify(offsets))
    }
    await producer.disconnect()
    await stop()
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
  await call('listTopics of all', async () => assert.ok((await admin.listTopics({ timeout })).includes(topic)))
  await call('fetchTopicMetadata of all', async () => assert.ok((await admin.fetchTopicMetadata()).some(({ name }) => name === topic)))
  await call('fetchTopicMetadata', async () => {
    const [found] = await admin.fetchTopicMetadata({ topics: [topic], includeAuthorizedOperations: true, timeout })
    assert.ok(found.partitions.length === 2 && found.topicId && found.authorizedOperations)
  })
  await call('createTopics', async () => assert.equal(await admin.createTopics({ topics: [{ topic }], timeout }), false))
  await call('deleteTopics', async () => admin.deleteTopics({ topics: [await newTopic('deleted')], timeout }))
  await call('createPartitions', async () => {
    const topic = await newTopic('grown')
    await new Promise((resolve, reject) => older.createPartitions(topic, 5, timeout, error => error ? reject(error) : resolve()))
    await until('five partitions', async () => await leaders(topic) === 5)
  })
  await call('deleteTopicRecords', async () => {
    const topic = await newTopic('shortened')
    await produce(topic, plain(10))
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }], timeout })
    assert.equal((await admin.fetchTopicOffsets(topic, { timeout }))[0].low, '4')
  })
  await call('fetchTopicOffsets', async () =>
    assert.deepEqual((await admin.fetchTopicOffsets(topic, { timeout })).map(({ low, high }) => [low, high]), [['0', '10'], ['0', '10']]))
  await call('fetchTopicOffsetsByTimestamp', async () =>
    assert.deepEqual((await admin.fetchTopicOffsetsByTimestamp(topic, undefined, { timeout })).map(({ offset }) => offset), ['10', '10']))
  await call('listGroups of all', async () => {
    const group = await closedGroup()
    assert.ok((await admin.listGroups({ timeout })).groups.some(({ groupId }) => groupId === group))
  })
  await call('listGroups in a state', async () => {
    const group = await closedGroup()
    const { groups } = await admin.listGroups({ matchConsumerGroupStates: [ConsumerGroupStates.EMPTY], timeout })
    assert.ok(groups.some(({ groupId }) => groupId === group))
  })
  await call('describeGroups', async () => {
    const { groups: [found] } = await admin.describeGroups([await closedGroup()], { includeAuthorizedOperations: true, timeout })
    assert.equal(found.state, ConsumerGroupStates.EMPTY)
  })
  await call('fetchOffsets of all partitions', async () => {
    const [found] = await admin.fetchOffsets({ groupId: await closedGroup(), timeout })
    assert.deepEqual(found.partitions.map(({ offset }) => offset), ['10', '10'])
  })
  await call('fetchOffsets', async () => {
    const [found] = await admin.fetchOffsets({ groupId: await closedGroup(), topics: [{ topic, partitions: [0] }], timeout })
    assert.deepEqual(found.partitions.map(({ offset }) => offset), ['10'])
  })
  await call('deleteGroups', async () => admin.deleteGroups([await closedGroup()], { timeout }))
  await allPublicCalls('admin', Object.getOwnPropertyNames(Object.getPrototypeOf(admin)), ['constructor', 'connect', 'disconnect', 'logger'])
}

async function main () {
  await admin.connect()
  topic = await newTopic('confluent-kafka-javascript', 2)
  await produce(topic, [...Array(20).keys()].map(number =>
    ({ partition: number % 2, key: `key-${number}`, value: `value-${number}`, timestamp: String(NOW + number) })))
  for (const part of [records, positions, groups, commits, transactions, adminCalls]) await part()
  older.disconnect()
  await admin.disconnect()
  process.exit(0)
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
