// Create a topic, produce with each compression that needs no native code, consume in a group, commit, describe.
'use strict'
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')

const topic = 'smoke'
const groupId = 'smokers'
const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR })

async function main() {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 2, replicationFactor: 1 }], waitForLeaders: true })

  const expected = new Set()
  for (const [codec, compression] of Object.entries({ none: 0, gzip: 1, snappy: 2 })) {
    // kafkajs does not default to idempotence; the last codec is produced with it.
    const producer = kafka.producer({ idempotent: codec === 'snappy' })
    await producer.connect()
    const messages = []
    for (let number = 0; number < 20; number++) {
      expected.add(`${codec}-${number}`)
      messages.push({ key: codec, value: `${codec}-${number} `.repeat(20), partition: number % 2, headers: { codec } })
    }
    await producer.send({ topic, compression, messages })
    await producer.disconnect()
  }

  const consumer = kafka.consumer({ groupId })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  let count = 0
  let headersKept = true
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, event => reject(event.payload.error))
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ message }) => {
        expected.delete(message.value.toString().split(' ')[0])
        headersKept = headersKept && message.headers.codec.toString() === message.key.toString()
        if (++count === 60) resolve()
      },
    }).catch(reject)
  })
  await consumer.commitOffsets([0, 1].map(partition => ({ topic, partition, offset: '30' })))

  const { groups: [group] } = await admin.describeGroups([groupId])
  const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] })
  const committed = offsets.partitions.map(({ offset }) => offset).sort()
  console.log(JSON.stringify({ count, missing: expected.size, headersKept, state: group.state, members: group.members.length, committed }))
  await consumer.disconnect()
  await admin.disconnect()
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
